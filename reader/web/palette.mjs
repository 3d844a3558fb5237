// SPDX-License-Identifier: MIT
// What a frame is, and its colour in both themes.  The kinds differ in lightness as well as in hue, so that they can
// be told apart in grey and by colour-blind eyes; text on each has a contrast of at least 4.5.
import { FLAG_ALLOCATOR, FLAG_IMPORT, FLAG_INTERPRETER, FLAG_LIBRARY } from './data.mjs';
import { KIND_NATIVE, KIND_PART, KIND_SPECIAL } from './data.mjs';

export const CATEGORIES = [
	{ name: 'root', label: 'All', light: '#dde2ea', dark: '#2c3443' },
	{ name: 'python', label: 'Python', light: '#86b6f2', dark: '#2b62ab' },
	{ name: 'library', label: 'Python library', light: '#b9dbe6', dark: '#2d6476' },
	{ name: 'import', label: 'Import', light: '#d5dcea', dark: '#444f66' },
	{ name: 'native', label: 'Native', light: '#f3b562', dark: '#975b12' },
	{ name: 'system', label: 'System library', light: '#f1ddb0', dark: '#665231' },
	{ name: 'interpreter', label: 'Interpreter', light: '#cfc6ec', dark: '#564a86' },
	{ name: 'allocator', label: 'Allocator', light: '#f0a598', dark: '#97463a' },
	{ name: 'special', label: 'Stack cut', light: '#f2b3d3', dark: '#8a3467' },
];

const DOMAIN_COLOURS = {
	light: ['#e3962f', '#3f7fd6', '#2f9e83', '#8c72cf', '#9aa4b5', '#c9cfd9'],
	dark: ['#d98e2b', '#5b97ea', '#35a98c', '#9d84dd', '#6f7a8e', '#4a5466'],
};

export const TONES = 3;

export function frameCategory(kind, flags) {
	if (kind === KIND_PART)
		return 0;
	if (kind === KIND_SPECIAL)
		return flags & FLAG_INTERPRETER ? 6 : 8;
	if (flags & FLAG_ALLOCATOR)
		return 7;
	if (flags & FLAG_IMPORT)
		return 3;
	if (flags & FLAG_INTERPRETER)
		return 6;
	if (kind === KIND_NATIVE)
		return flags & FLAG_LIBRARY ? 5 : 4;
	return flags & FLAG_LIBRARY ? 2 : 1;
}

export function mixColours(from, to, share) {
	let mixed = '#';
	for (let i = 1; i < 7; i += 2) {
		const a = parseInt(from.slice(i, i + 2), 16);
		const b = parseInt(to.slice(i, i + 2), 16);
		mixed += Math.round(a + (b - a) * share).toString(16).padStart(2, '0');
	}
	return mixed;
}

// fill[category * TONES + tone]: neighbours of one kind differ a little.  faded: what a search does not match.
export function themePalette(theme) {
	const dark = theme === 'dark';
	const paper = dark ? '#161a22' : '#ffffff';
	const palette = {
		fill: [], faded: [], domains: DOMAIN_COLOURS[theme], paper,
		text: dark ? '#f3f6fb' : '#16202e', textFaded: dark ? '#7f8899' : '#8b94a3', textSoft: dark ? '#c3cbd9' : '#43506a',
		match: dark ? '#ff8fd0' : '#b8107f', focus: dark ? '#ffffff' : '#0b1220',
		grid: dark ? '#272e3b' : '#e7eaf0', axis: dark ? '#8f99ab' : '#667085',
		resident: dark ? '#ff7aa8' : '#c2255c', live: dark ? '#8fb8ff' : '#2459b8', rate: dark ? '#4a566b' : '#c3cbd8',
		before: dark ? '#f0b35a' : '#9a5b00', peak: dark ? '#ffd166' : '#8a5a00', mark: dark ? '#7fe0b0' : '#0b7a4b',
	};
	for (const category of CATEGORIES) {
		const base = category[theme];
		for (let tone = 0; tone < TONES; tone++) {
			const colour = mixColours(base, dark ? '#000000' : '#ffffff', tone * (dark ? 0.09 : 0.13));
			palette.fill.push(colour);
			palette.faded.push(mixColours(colour, paper, 0.78));
		}
	}
	return palette;
}

// A tone for each group, from its function's name: the same in every view.
export function groupTones(report, groups) {
	const tones = new Uint8Array(groups.count);
	for (let group = 0; group < groups.count; group++) {
		const i = groups.frame[group];
		const category = i === 0 ? 0 : frameCategory(report.frames.kind[i], report.frames.flags[i]);
		const tone = i === 0 ? 0 : (Math.imul(report.frames.function[i] + 1, 0x9e3779b1) >>> 16) % TONES;
		tones[group] = category * TONES + tone;
	}
	return tones;
}
