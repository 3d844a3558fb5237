// SPDX-License-Identifier: MIT
// The page's data: from base64 in a <script> element to typed arrays.  formats/report.md is normative.

export const COSTS = 8;
export const KIND_PYTHON = 0;
export const KIND_NATIVE = 1;
export const KIND_SPECIAL = 2;
// Not in the data: a thread, a process or a kind of memory as the outermost box of its stacks; see derive.mjs.
export const KIND_PART = 3;
export const FLAG_INTERPRETER = 1;
export const FLAG_IMPORT = 2;
export const FLAG_LIBRARY = 4;
export const FLAG_INLINED = 8;
export const FLAG_UNRESOLVED = 16;
export const FLAG_ALLOCATOR = 32;

const MAGIC = [0x53, 0x43, 0x54, 0x52, 1];
const END = [0x45, 0x4e, 0x44, 0x2e];
const DOMAINS = 6;

export function decodeBase64(text) {
	const clean = text.trim();
	if (Uint8Array.fromBase64)
		return Uint8Array.fromBase64(clean);
	const binary = atob(clean);
	const bytes = new Uint8Array(binary.length);
	for (let i = 0; i < bytes.length; i++)
		bytes[i] = binary.charCodeAt(i);
	return bytes;
}

export async function gunzip(bytes) {
	const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
	return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Reads columns one after the other.  Each checks that it stays within the bytes.
class ColumnReader {
	constructor(bytes) {
		this.bytes = bytes;
		this.at = 0;
	}

	expect(expected, what) {
		if (expected.some((byte, i) => this.bytes[this.at + i] !== byte))
			throw new Error('the data of this page are damaged: no ' + what + ' at byte ' + this.at);
		this.at += expected.length;
	}

	varint() {
		const bytes = this.bytes;
		let byte = bytes[this.at++];
		let value = byte & 127;
		// Shifts work on 32 bits only, so the higher bits are multiplied.
		for (let scale = 128; byte > 127; scale *= 128) {
			byte = bytes[this.at++];
			value += (byte & 127) * scale;
		}
		if (byte === undefined)
			throw new Error('the data of this page are cut short');
		return value;
	}

	count(what) {
		const count = this.varint();
		// Each row of each table takes at least a byte, so that damaged data cannot ask for all of memory.
		if (count > this.bytes.length)
			throw new Error('the data of this page are damaged: ' + count + ' ' + what);
		return count;
	}

	varints(array, first = 0) {
		for (let i = first; i < array.length; i++)
			array[i] = this.varint();
		return array;
	}

	deltas(array, first = 0) {
		let value = 0;
		for (let i = first; i < array.length; i++) {
			const folded = this.varint();
			value += folded % 2 ? -(folded + 1) / 2 : folded / 2;
			array[i] = value;
		}
		return array;
	}

	// Folded as deltas are, each for itself.
	signed(array) {
		for (let i = 0; i < array.length; i++) {
			const folded = this.varint();
			array[i] = folded % 2 ? -(folded + 1) / 2 : folded / 2;
		}
		return array;
	}

	doubles(count) {
		const raw = this.raw(8 * count);
		const view = new DataView(raw.buffer, raw.byteOffset, raw.length);
		return Float64Array.from({ length: count }, (_, i) => view.getFloat64(8 * i, true));
	}

	raw(length) {
		if (this.at + length > this.bytes.length)
			throw new Error('the data of this page are cut short');
		this.at += length;
		return this.bytes.slice(this.at - length, this.at);
	}
}

// string number of a file -> { changed, confidential, lines: number -> text }
function readSources(reader, count) {
	const file = reader.varints(new Uint32Array(count));
	const state = reader.raw(count);
	const lineCount = reader.varints(new Float64Array(count));
	const sources = new Map();
	for (let i = 0; i < count; i++) {
		const numbers = reader.deltas(new Float64Array(Math.min(lineCount[i], reader.bytes.length)));
		const texts = readStrings(reader, numbers.length);
		sources.set(file[i], {
			changed: state[i] === 1, confidential: state[i] === 2,
			lines: new Map(texts.map((text, j) => [numbers[j], text])),
		});
	}
	return sources;
}

function readStrings(reader, count) {
	const lengths = reader.varints(new Float64Array(count));
	const decoder = new TextDecoder();
	const strings = new Array(count);
	for (let i = 0; i < count; i++)
		strings[i] = decoder.decode(reader.raw(lengths[i]));
	return strings;
}

function checkBelow(array, limit, what) {
	for (let i = 0; i < array.length; i++) {
		if (array[i] >= limit)
			throw new Error('the data of this page are damaged: ' + what + ' ' + array[i] + ' of ' + limit);
	}
}

function readNodes(reader, count) {
	const parent = reader.deltas(new Uint32Array(count), 1);
	const frame = reader.deltas(new Uint32Array(count), 1);
	for (let i = 1; i < count; i++) {
		if (parent[i] >= i)
			throw new Error('the data of this page are damaged: node ' + i + ' is above its parent');
	}
	return { count, parent, frame };
}

function readSites(reader, count) {
	const node = reader.deltas(new Uint32Array(count));
	const thread = reader.deltas(new Uint32Array(count));
	const domain = reader.raw(count);
	const counted = new Uint8Array(count);
	const keeper = new Uint8Array(count);
	for (let i = 0; i < count; i++) {
		counted[i] = domain[i] < 128 ? 1 : 0;
		keeper[i] = domain[i] >> 3 & 15;
		domain[i] &= 7;
	}
	const allocator = reader.raw(count);
	const costs = [];
	for (let i = 0; i < COSTS; i++)
		costs.push(reader.varints(new Float64Array(count)));
	return { count, node, thread, domain, counted, keeper, allocator, costs };
}

function readTimeline(reader, count) {
	const column = () => reader.deltas(new Float64Array(count));
	const timeline = { count, time: column(), live: column(), liveMax: column(), maxTime: column(), domains: [] };
	for (let i = 0; i < DOMAINS; i++)
		timeline.domains.push(column());
	timeline.resident = column();
	timeline.allocations = column();
	timeline.allocatedBytes = column();
	return timeline;
}

// Sums from the start, so that what belongs to slice i are the rows from ends[i - 1] to ends[i].
function sumUp(counts, all, what) {
	let sum = 0;
	for (let i = 0; i < counts.length; i++)
		counts[i] = sum += counts[i];
	if (sum !== all)
		throw new Error('the data of this page are damaged: ' + sum + ' ' + what + ' of ' + all);
	return counts;
}

function readSlices(reader, count, cells, losses) {
	const slices = {
		count, end: reader.deltas(new Float64Array(count)),
		cellEnd: sumUp(reader.varints(new Float64Array(count)), cells, 'cells'),
		lossEnd: sumUp(reader.varints(new Float64Array(count)), losses, 'losses'),
		site: reader.deltas(new Uint32Array(cells)),
	};
	for (const column of ['totalBytes', 'totalCount', 'keptBytes', 'keptCount'])
		slices[column] = reader.varints(new Float64Array(cells));
	slices.lossCell = reader.deltas(new Uint32Array(losses));
	slices.lossBytes = reader.signed(new Float64Array(losses));
	slices.lossCount = reader.signed(new Float64Array(losses));
	checkBelow(slices.lossCell, cells, 'cell');
	return slices;
}

// Of a sample, in the order of costs, for each figure: what of the bytes was not seen, and their variance.
function readSpreads(reader, count) {
	return Array.from({ length: COSTS }, (_, i) => i % 2 ? reader.doubles(count) :
		reader.varints(new Float64Array(count)));
}

function readSliceSpreads(reader, slices) {
	const cells = slices.site.length;
	const losses = slices.lossCell.length;
	return {
		...slices,
		totalUnseen: reader.varints(new Float64Array(cells)), totalVariance: reader.doubles(cells),
		keptUnseen: reader.varints(new Float64Array(cells)), keptVariance: reader.doubles(cells),
		lossUnseen: reader.signed(new Float64Array(losses)), lossVariance: reader.doubles(losses),
	};
}

export function decodeColumns(bytes) {
	const reader = new ColumnReader(bytes);
	reader.expect(MAGIC, 'magic');
	const [strings, frames, nodes, threads, sites, points, files, slices, cells, losses, before, pointsBefore, spreads,
		spreadsBefore, slicesBefore, cellsBefore, lossesBefore] = ['strings', 'frames', 'nodes', 'threads', 'sites',
		'points', 'files', 'slices', 'cells', 'losses', 'sites before', 'points before', 'spreads', 'spreads before',
		'slices before', 'cells before', 'losses before']
		.map((what) => reader.count(what));
	const report = { strings: readStrings(reader, strings) };
	report.frames = {
		count: frames,
		function: reader.deltas(new Uint32Array(frames)),
		file: reader.deltas(new Uint32Array(frames)),
		module: reader.deltas(new Uint32Array(frames)),
		line: reader.varints(new Uint32Array(frames)),
		kind: reader.raw(frames),
		flags: reader.raw(frames),
	};
	report.nodes = readNodes(reader, nodes);
	report.threads = {
		count: threads,
		capture: reader.varints(new Uint32Array(threads)),
		tid: reader.varints(new Uint32Array(threads)),
		name: reader.deltas(new Uint32Array(threads)),
		start: reader.varints(new Float64Array(threads)),
	};
	report.sites = readSites(reader, sites);
	report.timeline = readTimeline(reader, points);
	report.sources = readSources(reader, files);
	report.slices = readSlices(reader, slices, cells, losses);
	// What each site cost in the capture compared with; null in a page of one run.
	report.before = before ? Array.from({ length: COSTS }, () => reader.varints(new Float64Array(before))) : null;
	report.timelineBefore = pointsBefore ? readTimeline(reader, pointsBefore) : null;
	// Of a sample, by figure (total, peak, live, temporary) how uncertain the bytes of each site are: what was not seen,
	// and the variance; null where all is exact.
	report.spreads = spreads ? readSpreads(reader, spreads) : null;
	if (spreads)
		report.slices = readSliceSpreads(reader, report.slices);
	report.spreadsBefore = spreadsBefore ? readSpreads(reader, spreadsBefore) : null;
	// In a page of differences, of the run compared with.
	report.slicesBefore = slicesBefore ? readSlices(reader, slicesBefore, cellsBefore, lossesBefore) : null;
	if (report.slicesBefore && spreadsBefore)
		report.slicesBefore = readSliceSpreads(reader, report.slicesBefore);
	for (const count of [spreads, spreadsBefore]) {
		if (count && count !== sites)
			throw new Error('the data of this page are damaged: ' + count + ' spreads, of ' + sites + ' sites');
	}
	if (before && before !== sites)
		throw new Error('the data of this page are damaged: ' + before + ' sites before, of ' + sites);
	reader.expect(END, 'end');
	for (const column of [report.frames.function, report.frames.file, report.frames.module, report.threads.name])
		checkBelow(column, strings, 'string');
	checkBelow(report.nodes.frame, Math.max(frames, 1), 'frame');
	checkBelow(report.sites.node, nodes, 'node');
	checkBelow(report.sites.thread, threads, 'thread');
	for (const slices of [report.slices, report.slicesBefore])
		checkBelow(slices?.site ?? [], sites, 'site');
	return report;
}

// Frames for the parts into which stacks can be split.  report.parts: for each way the first of its frames.
export function addPartFrames(report) {
	const { meta, frames, strings, threads } = report;
	const names = { thread: [], domain: [], process: [] };
	for (let i = 0; i < threads.count; i++) {
		const name = strings[threads.name[i]];
		names.thread.push((name ? name + ' · ' : '') + 'thread ' + threads.tid[i]);
	}
	for (const domain of meta.domains)
		names.domain.push(domain.name);
	for (const capture of meta.captures)
		names.process.push('process ' + capture.pid + ' · ' + capture.arguments.slice(0, 9).join(' ').slice(0, 200));
	report.parts = {};
	const added = [];
	for (const [way, list] of Object.entries(names)) {
		report.parts[way] = frames.count + added.length;
		added.push(...list);
	}
	for (const [name, column] of Object.entries(frames)) {
		if (name === 'count')
			continue;
		const larger = new column.constructor(frames.count + added.length);
		larger.set(column);
		frames[name] = larger;
	}
	added.forEach((name, i) => {
		frames.function[frames.count + i] = strings.push(name) - 1;
		frames.kind[frames.count + i] = KIND_PART;
	});
	frames.count += added.length;
}

export async function loadReport(columnsText, metaText) {
	const meta = JSON.parse(metaText);
	const report = decodeColumns(await gunzip(decodeBase64(columnsText)));
	report.meta = meta;
	addPartFrames(report);
	return report;
}
