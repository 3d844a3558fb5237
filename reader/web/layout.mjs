// SPDX-License-Identifier: MIT
// Which boxes of a view are on the screen, and where: nothing here draws.
//
// A window is { left, width } in the view's own measure (bytes or blocks); a level's nodes are sorted by x.

export const ROW_HEIGHT = 19;
export const WIDTH_MIN = 0.5;

// The first node of [from, to) of which the right edge is beyond `edge`.
export function firstBeyond(view, from, to, edge) {
	while (from < to) {
		const middle = (from + to) >>> 1;
		if (view.x[middle] + view.value[middle] > edge)
			to = middle;
		else
			from = middle + 1;
	}
	return from;
}

// Calls box(node, left, width) for each node of a level that is wide enough, and blur(left, width) for runs of those
// that are not: a row of a million slivers costs as many steps as it has pixels.
export function layoutLevel(view, level, window, pixels, box, blur) {
	const to = view.levels[level + 1];
	const scale = pixels / window.width;
	const right = window.left + window.width;
	let runStart = 0;
	let runEnd = -1;
	const flush = () => {
		if (runEnd - runStart >= WIDTH_MIN)
			blur(runStart, runEnd - runStart);
		runEnd = -1;
	};
	for (let i = firstBeyond(view, view.levels[level], to, window.left); i < to && view.x[i] < right;) {
		const left = (view.x[i] - window.left) * scale;
		const width = view.value[i] * scale;
		if (width >= WIDTH_MIN) {
			flush();
			box(i, left, width);
			i++;
			continue;
		}
		const next = Math.max(i + 1, firstBeyond(view, i + 1, to, view.x[i] + WIDTH_MIN / scale));
		const end = (view.x[next - 1] + view.value[next - 1] - window.left) * scale;
		if (runEnd < 0 || left > runEnd + 1) {
			flush();
			runStart = left;
		}
		runEnd = end;
		i = next;
	}
	flush();
}

// The node at a place of a level, or -1.
export function nodeAt(view, level, x) {
	if (level < 0 || level >= view.levels.length - 1)
		return -1;
	const i = firstBeyond(view, view.levels[level], view.levels[level + 1], x);
	return i < view.levels[level + 1] && view.x[i] <= x ? i : -1;
}

// How many levels the window shows: below the focus a tree is often much less deep than elsewhere.
export function levelsWithin(view, window, pixels) {
	const least = WIDTH_MIN * window.width / pixels;
	const right = window.left + window.width;
	for (let level = 0; level < view.levels.length - 1; level++) {
		const to = view.levels[level + 1];
		const i = firstBeyond(view, view.levels[level], to, window.left);
		let visible = i < to && view.x[i] < right;
		// Only slivers: the rest of the level is looked at while it lies within the window.
		if (visible && view.value[i] < least) {
			visible = false;
			for (let j = i; j < to && view.x[j] < right && !visible; j++)
				visible = view.value[j] >= least;
		}
		if (!visible)
			return level;
	}
	return view.levels.length - 1;
}

export function isAncestor(view, above, below) {
	while (below > above)
		below = view.parent[below];
	return above === below;
}
