// SPDX-License-Identifier: MIT
//! Rust's own allocator calls malloc, calloc, realloc and posix_memalign.  Counted blocks have sizes of SIZE_BASE + n,
//! as in threads.c:  Vec that grows, Box, zeroed Vec, an aligned type, threads, and a leak.

use std::hint::black_box;

const SIZE_BASE: usize = 70000;

#[repr(align(4096))]
struct Page([u8; 4096]);

#[inline(never)]
fn leaked() {
    std::mem::forget(black_box(vec![1u8; SIZE_BASE + 1]));
}

fn main() {
    drop(black_box(Vec::<u8>::with_capacity(SIZE_BASE + 2)));
    drop(black_box(vec![0u8; SIZE_BASE + 3]));
    let mut grown = Vec::<u8>::with_capacity(SIZE_BASE + 4);
    grown.reserve_exact(SIZE_BASE + 5);
    drop(black_box(grown));
    let page = black_box(Box::new(Page([7; 4096])));
    assert_eq!(page.0[4095], 7);
    let threads: Vec<_> = (0..4)
        .map(|i| std::thread::spawn(move || black_box(vec![i as u8; SIZE_BASE + 6]).len()))
        .collect();
    let total: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    leaked();
    let caught = std::panic::catch_unwind(|| {
        let _kept = black_box(vec![1u8; SIZE_BASE + 7]);
        std::panic::resume_unwind(Box::new(5u8));
    });
    println!("{} {}", total, caught.is_err());
}
