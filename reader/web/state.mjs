// SPDX-License-Identifier: MIT
// What the page shows, as text behind the # of its address: a view can be sent, and back and forward work.
//
// A field of the state has a letter in the address, its first value, and what it accepts (a list, or an expression that
// the whole text must match).  The fields here concern all views; a view adds its own (see views.mjs).
import { SPLITS } from './derive.mjs';
import { WINDOW_PATTERN } from './slices.mjs';
import { METRICS } from './tree.mjs';

export const COMMON_FIELDS = {
	metric: { letter: 'm', initial: 'peak', accepts: METRICS },
	unit: { letter: 'u', initial: 'bytes', accepts: ['bytes', 'count'] },
	inverted: { letter: 'v', initial: '', accepts: ['', '1'] },
	group: { letter: 'g', initial: 'line', accepts: ['line', 'function', 'module'] },
	recursion: { letter: 'r', initial: '', accepts: ['', '1'] },
	split: { letter: 's', initial: '', accepts: SPLITS },
	thread: { letter: 't', initial: '', accepts: /\d*/ },
	domain: { letter: 'd', initial: '', accepts: /\d*/ },
	hide: { letter: 'h', initial: 'i', accepts: /[iml]*/ },
	search: { letter: 'q', initial: '', accepts: /[^]*/ },
	zoom: { letter: 'z', initial: '', accepts: /(\d+|i[\d.]+)?/ },
	// The function that callers and callees are about: the number of one of its frames.
	fn: { letter: 'n', initial: '', accepts: /\d*/ },
	window: { letter: 'i', initial: '', accepts: WINDOW_PATTERN },
	windowBefore: { letter: 'e', initial: '', accepts: WINDOW_PATTERN },
	table: { letter: 'b', initial: 'functions', accepts: ['functions', 'sites'] },
};

function isAccepted(field, value) {
	return Array.isArray(field.accepts) ? field.accepts.includes(value) :
		new RegExp('^(?:' + field.accepts.source + ')$').test(value);
}

export class Address {
	// views: as in views.mjs, the first is where a page begins; changed: first values that are this page's own.
	constructor(views, changed = {}) {
		const names = views.map((view) => view.name);
		this.fields = { view: { letter: 'w', initial: names[0] ?? '', accepts: names }, ...COMMON_FIELDS };
		for (const view of views)
			Object.assign(this.fields, view.fields);
		this.defaults = {};
		for (const [key, field] of Object.entries(this.fields)) {
			const wanted = changed[key];
			this.defaults[key] = wanted !== undefined && isAccepted(field, wanted) ? wanted : field.initial;
		}
	}

	format(state) {
		const parts = [];
		for (const [key, { letter }] of Object.entries(this.fields)) {
			if (state[key] !== this.defaults[key])
				parts.push(letter + '=' + encodeURIComponent(state[key]));
		}
		return parts.join('&');
	}

	// Whatever the address says, the state is valid: what is not understood is as if it were not there.
	parse(hash) {
		const state = { ...this.defaults };
		const given = new Map();
		for (const part of hash.replace(/^#/, '').split('&')) {
			const cut = part.indexOf('=');
			if (cut < 1)
				continue;
			try {
				given.set(part.slice(0, cut), decodeURIComponent(part.slice(cut + 1)));
			} catch {
				continue;
			}
		}
		for (const [key, field] of Object.entries(this.fields)) {
			const value = given.get(field.letter);
			if (value !== undefined && isAccepted(field, value))
				state[key] = value;
		}
		return state;
	}
}
