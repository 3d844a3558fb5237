/* SPDX-License-Identifier: MIT */
/*
 * Made-up profiles for the tests of the report page: the same number gives the same profile, of any size, so that
 * layout, speed and figures can be looked at without a capture.
 */
#ifndef SCTMEM_TESTS_WEB_FAKE_PROFILE_H
#define SCTMEM_TESTS_WEB_FAKE_PROFILE_H

#include "reader/profile.h"

enum fake_kind {
	FAKE_DEMO,                    /* a service with workers: every kind of frame, domain and cost */
	FAKE_HOSTILE,                 /* names that try to be markup, code, other names; huge ones; no UTF-8 */
	FAKE_DAMAGED,                 /* as the demo, but killed, damaged, with losses */
	FAKE_EMPTY,                   /* nothing was allocated */
};

/* nodes: about how many nodes the tree gets.  Ends the test program when there is no memory. */
struct profile *fake_profile_new(enum fake_kind kind, uint32_t nodes);
void fake_profile_free(struct profile *profile);

#endif
