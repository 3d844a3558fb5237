/* SPDX-License-Identifier: MIT */
/*
 * The last include of every file here but hooks.c, real.c and lifecycle.c: names that code running inside the
 * traced program's malloc() may not use.  Memory comes from arena.h, system calls from sys.h.
 */
#ifndef SCTMEM_PRELOAD_BANNED_H
#define SCTMEM_PRELOAD_BANNED_H

#pragma GCC poison malloc calloc realloc free strdup strndup asprintf vasprintf
#pragma GCC poison printf fprintf sprintf snprintf vsnprintf puts fputs fopen fclose fread fwrite fgets
#pragma GCC poison getenv setenv putenv perror strerror
#pragma GCC poison pthread_mutex_lock pthread_cond_wait pthread_getattr_np

#endif
