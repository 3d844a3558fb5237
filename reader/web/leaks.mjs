// SPDX-License-Identifier: MIT
// What speaks for and against a leak, for each stack and each who keeps it: the same figures as `sctmem leaks` has,
// from the slices of time.  reader/leak_evidence.h says what they mean and why; this must say the same.
import { sliceStart } from './slices.mjs';
import { siteSelected } from './tree.mjs';

export const EVIDENCE_PARTS = 16;

export const SUPPRESSED = 6;

// In the order of enum keeper, reader/leaks.h.
export const KEEPERS = [
	['program', 'the program'], ['import', 'imports'], ['interpreter', 'the interpreter'],
	['interned', 'interned strings'], ['code', 'code objects'], ['arena', 'arenas'], ['suppressed', 'suppressed'],
];

function lastBefore(slices, time) {
	let found = slices.count;
	for (let i = 0; i < slices.count && slices.end[i] <= time; i++)
		found = i;
	return found;
}

// Where the parts of the run end, and what late is: numbers of slices; late.from is -1 where there are no such borders.
export function evidenceBorders(slices) {
	const { count } = slices;
	const parts = Math.min(count, EVIDENCE_PARTS);
	const ends = Array.from({ length: parts }, (_, part) => Math.floor((part + 1) * count / parts) - 1);
	const end = count ? slices.end[count - 1] : 0;
	const born = lastBefore(slices, end - Math.floor(end / 10));
	const from = lastBefore(slices, end - Math.floor(end / 50));
	return { ends, late: born < from && from + 1 < count ? { born, from } : { born: -1, from: -1 } };
}

export function evidenceWord(held) {
	const quarter = Math.floor(held.length / 4) || 1;
	let earliest = held.length;
	let latest = 0;
	held.forEach((bytes, part) => {
		if (bytes > (part ? held[part - 1] : 0)) {
			earliest = Math.min(earliest, part);
			latest = part;
		}
	});
	// What is done once may lie across the border between two parts.
	if (latest <= earliest + 1)
		return 'once';
	return latest + quarter >= held.length ? 'growing' : 'stopped';
}

export function evidenceScore(held) {
	let net = 0;
	held.forEach((bytes, part) => {
		net += Math.sign(bytes - (part ? held[part - 1] : 0));
	});
	return (Math.max(0, net) + 1) / (held.length + 2);
}

// stackOf: the number of a site's stack, as it is shown.  window: null, or only what was allocated in it.
// Each entry: { stack, keeper, totalBytes, totalCount, bytes, count, held, lateBytes, lateCount, oldest: slice or -1 }.
export function collectEvidence(report, stackOf, filter, window) {
	const { slices, sites } = report;
	const { ends, late } = evidenceBorders(slices);
	const entries = [];
	const known = new Map();
	const ofSite = new Int32Array(sites.count).fill(-1);
	for (let site = 0; site < sites.count; site++) {
		if (!siteSelected(sites, site, filter))
			continue;
		const key = stackOf(site) * 16 + sites.keeper[site];
		if (!known.has(key)) {
			known.set(key, entries.length);
			entries.push({ stack: stackOf(site), keeper: sites.keeper[site], totalBytes: 0, totalCount: 0, bytes: 0, count: 0,
				held: [], lateBytes: 0, lateCount: 0, oldest: -1 });
		}
		ofSite[site] = known.get(key);
	}
	const first = window && window.from > 0 ? slices.cellEnd[window.from - 1] : 0;
	const end = window ? slices.cellEnd[window.to] : slices.site.length;
	const entryOf = (cell) => (cell < first || cell >= end ? -1 : ofSite[slices.site[cell]]);
	const alive = Float64Array.from(slices.keptCount);
	slices.lossCell.forEach((cell, i) => {
		alive[cell] -= slices.lossCount[i];
	});
	let cell = 0;
	let loss = 0;
	let part = 0;
	const bornCells = late.born >= 0 ? slices.cellEnd[late.born] : 0;
	for (let i = 0; i < slices.count; i++) {
		for (; cell < slices.cellEnd[i]; cell++) {
			if (entryOf(cell) < 0)
				continue;
			const entry = entries[entryOf(cell)];
			entry.totalBytes += slices.totalBytes[cell];
			entry.totalCount += slices.totalCount[cell];
			entry.bytes += slices.keptBytes[cell];
			entry.count += slices.keptCount[cell];
			if (alive[cell] > 0 && entry.oldest < 0)
				entry.oldest = i;
		}
		for (; loss < slices.lossEnd[i]; loss++) {
			if (entryOf(slices.lossCell[loss]) < 0)
				continue;
			const entry = entries[entryOf(slices.lossCell[loss])];
			entry.bytes -= slices.lossBytes[loss];
			entry.count -= slices.lossCount[loss];
			if (late.from >= 0 && i > late.from && slices.lossCell[loss] < bornCells) {
				entry.lateBytes += slices.lossBytes[loss];
				entry.lateCount += slices.lossCount[loss];
			}
		}
		for (; part < ends.length && ends[part] === i; part++) {
			for (const entry of entries)
				entry.held.push(entry.bytes);
		}
	}
	return { entries, ends, late };
}

// Between these two times the oldest block of an entry was allocated.
export function oldestSpan(slices, entry) {
	return entry.oldest < 0 ? null : [sliceStart(slices, entry.oldest), slices.end[entry.oldest]];
}
