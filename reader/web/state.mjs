// SPDX-License-Identifier: MIT
// What the page shows, as text behind the # of its address: a view can be sent, and back and forward work.
import { METRICS } from './tree.mjs';

// key: [letter in the address, allowed values; null: any text]
const FIELDS = {
	metric: ['m', METRICS],
	unit: ['u', ['bytes', 'count']],
	inverted: ['v', ['', '1']],
	shape: ['o', ['icicle', 'flame']],
	group: ['g', ['line', 'function', 'module']],
	thread: ['t', null],
	domain: ['d', null],
	hide: ['h', null],
	search: ['q', null],
	zoom: ['z', null],
	table: ['b', ['functions', 'sites']],
};

export const STATE_DEFAULTS = {
	metric: 'peak', unit: 'bytes', inverted: '', shape: 'icicle', group: 'line', thread: '', domain: '', hide: 'i',
	search: '', zoom: '', table: 'functions',
};

export function stateToHash(state, defaults) {
	const parts = [];
	for (const [key, [letter]] of Object.entries(FIELDS)) {
		if (state[key] !== defaults[key])
			parts.push(letter + '=' + encodeURIComponent(state[key]));
	}
	return parts.join('&');
}

// Whatever the address says, the state is valid: what is not understood is as if it were not there.
export function stateFromHash(hash, defaults) {
	const state = { ...defaults };
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
	for (const [key, [letter, allowed]] of Object.entries(FIELDS)) {
		const value = given.get(letter);
		if (value !== undefined && (!allowed || allowed.includes(value)))
			state[key] = value;
	}
	if (!/^\d*$/.test(state.thread))
		state.thread = '';
	if (!/^\d*$/.test(state.domain))
		state.domain = '';
	if (!/^[iml]*$/.test(state.hide))
		state.hide = defaults.hide;
	if (!/^(\d+|i[\d.]+)?$/.test(state.zoom))
		state.zoom = '';
	return state;
}
