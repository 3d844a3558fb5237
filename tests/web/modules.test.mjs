// SPDX-License-Identifier: MIT
// The page's modules, run by node --test; once as they are, once as the bundle that ships.
import assert from 'node:assert/strict';
import { gzipSync } from 'node:zlib';
import test from 'node:test';
import { randomReport, randomSource, sctmem } from './load.mjs';

const { formatBytes, formatCount, formatExact, formatShare, formatTime, axisTicks, visibleText, shorten } = sctmem;

test('bytes have three digits and never reach the next unit', () => {
	for (const [value, text] of [[0, '0 B'], [1, '1 B'], [1023, '1023 B'], [1024, '1.00 KiB'], [1536, '1.50 KiB'],
		[10240, '10.0 KiB'], [1024 * 1023.7, '1.00 MiB'], [1024 ** 2, '1.00 MiB'],
		[1024 ** 3 * 123.4, '123 GiB'], [-2048, '-2.00 KiB'], [2 ** 52, '4.00 PiB']])
		assert.equal(formatBytes(value), text);
});

test('counts are decimal, exact numbers keep each digit', () => {
	assert.equal(formatCount(999), '999');
	assert.equal(formatCount(999600), '1.00 M');
	assert.equal(formatCount(1234567), '1.23 M');
	assert.equal(formatExact(4503599627370495).replaceAll('\u202f', ' '), '4 503 599 627 370 495');
	assert.equal(formatExact(0), '0');
});

test('a share says 100 % only when it is, and 0 % only when it is', () => {
	assert.equal(formatShare(1, 1), '100 %');
	assert.equal(formatShare(99951, 100000), '99.9 %');
	assert.equal(formatShare(1, 1e9), '< 0.01 %');
	assert.equal(formatShare(0, 5), '0 %');
	assert.equal(formatShare(0, 0), '–');
});

test('times take the unit that fits', () => {
	assert.deepEqual([0, 12, 1500, 2.5e6, 60e6, 61e6, 3600e6, 90061e6, 200 * 3600e6].map(formatTime),
		['0 µs', '12 µs', '1.50 ms', '2.50 s', '1 min', '1 min 1 s', '1 h', '25 h 1 min', '8 d 8 h']);
});

test('axis ticks are round, rise from zero and stay within', () => {
	for (const max of [1, 7, 1000, 1e6, 3.3e9, 2 ** 50]) {
		const ticks = axisTicks(max, 4, true);
		assert.equal(ticks[0], 0);
		assert.ok(ticks.length >= 2 && ticks.length <= 6, String(ticks));
		assert.ok(ticks.at(-1) <= max * 1.001);
	}
	assert.deepEqual(axisTicks(0, 4, true), [0]);
});

test('characters that hide or turn text around are shown by number', () => {
	assert.equal(visibleText('a\u202egnp.exe'), 'a‹202E›gnp.exe');
	assert.equal(visibleText('\u0000\t\n\u001b[31m\u200b\ufeff'), '‹0000›‹0009›‹000A›‹001B›[31m‹200B›‹FEFF›');
	assert.equal(visibleText('日本 🐍 é'), '日本 🐍 é');
});

test('long text keeps its start and its end', () => {
	const text = 'start' + 'x'.repeat(100000) + 'end';
	assert.equal(shorten(text, 40).length, 40);
	assert.ok(shorten(text, 40).startsWith('start') && shorten(text, 40).endsWith('end'));
	assert.equal(shorten('short', 40), 'short');
});

test('Python versions read as python prints them', () => {
	assert.equal(sctmem.pythonVersion(0x030b02f0), '3.11.2');
	assert.equal(sctmem.pythonVersion(0x030e00c2), '3.14.0rc2');
});

// ---- data

class Packer {
	constructor() {
		this.bytes = [];
	}

	varint(value) {
		for (; value > 127; value = Math.floor(value / 128))
			this.bytes.push(value % 128 + 128);
		this.bytes.push(value);
	}

	deltas(values) {
		let before = 0;
		for (const value of values) {
			this.varint(value >= before ? (value - before) * 2 : (before - value) * 2 - 1);
			before = value;
		}
	}

	varints(values) {
		values.forEach((value) => this.varint(value));
	}

	signed(values) {
		values.forEach((value) => this.varint(value < 0 ? -value * 2 - 1 : value * 2));
	}

	doubles(values) {
		this.raw(new Uint8Array(Float64Array.from(values).buffer));
	}

	raw(values) {
		this.bytes.push(...values);
	}
}

const BIG = 2 ** 52 - 1;

function packSmallReport() {
	const p = new Packer();
	p.raw([...Buffer.from('SCTR'), 1]);
	p.varints([4, 3, 3, 1, 2, 2, 1, 2, 3, 2, 2, 3, 2, 2, 1, 2, 1]);
	p.varints([0, 4, 7, 2]);
	p.raw(Buffer.from('main/a/b.pyé'));
	for (const column of [[0, 1, 1], [0, 2, 2], [0, 0, 3]])
		p.deltas(column);
	p.varints([0, 12, 4294967295]);
	p.raw([2, 0, 1, 0, 4, 32]);
	p.deltas([0, 1]);
	p.deltas([1, 2]);
	p.varints([0, 4242]);
	p.deltas([1]);
	p.varint(17);
	p.deltas([1, 2]);
	p.deltas([0, 0]);
	p.raw([1, 128 + 4, 43, 22]);
	for (let i = 0; i < 8; i++)
		p.varints([i, BIG - i]);
	for (let i = 0; i < 13; i++)
		p.deltas([i * 1000, BIG - i]);
	p.varint(2);
	p.raw([1]);
	p.varint(2);
	p.deltas([11, 12]);
	p.varints([1, 2]);
	p.raw(Buffer.from('xé'));
	p.deltas([1000, 1500]);
	p.varints([2, 1]);
	p.varints([0, 2]);
	p.deltas([0, 1, 0]);
	for (let i = 0; i < 4; i++)
		p.varints([i, 100 + i, BIG - i]);
	p.deltas([0, 1]);
	p.signed([-5, BIG]);
	p.signed([-1, 2]);
	for (let i = 0; i < 8; i++)
		p.varints([BIG - i, i]);
	for (let i = 0; i < 13; i++)
		p.deltas([i, BIG - i, 7]);
	for (let i = 0; i < 4; i++) {
		p.varints([i, BIG - i]);
		p.doubles([i / 3, 2 ** (100 * i)]);
	}
	for (let i = 0; i < 2; i++) {
		p.varints([7 * i, 8, BIG]);
		p.doubles([0.5, i, 1e30]);
	}
	p.signed([-9, BIG]);
	p.doubles([-0.25, 4]);
	for (let i = 0; i < 4; i++) {
		p.varints([BIG, 3 * i]);
		p.doubles([i / 7, i]);
	}
	p.deltas([3000]);
	p.varints([2, 1]);
	p.deltas([1, 0]);
	for (let i = 0; i < 4; i++)
		p.varints([i, 50 + i]);
	p.deltas([1]);
	p.signed([4]);
	p.signed([-3]);
	for (let i = 0; i < 2; i++) {
		p.varints([i, 6]);
		p.doubles([i, 0.125]);
	}
	p.signed([-2]);
	p.doubles([1.5]);
	p.raw(Buffer.from('END.'));
	return Uint8Array.from(p.bytes);
}

test('columns decode to what was packed, up to the largest number', () => {
	const report = sctmem.decodeColumns(packSmallReport());
	assert.deepEqual(report.strings, ['', 'main', '/a/b.py', 'é']);
	assert.deepEqual([...report.frames.line], [0, 12, 4294967295]);
	assert.deepEqual([...report.frames.flags], [0, 4, 32]);
	assert.deepEqual([...report.nodes.parent], [0, 0, 1]);
	assert.deepEqual([...report.sites.domain], [1, 4]);
	assert.deepEqual([...report.sites.counted], [1, 0]);
	assert.deepEqual(report.sites.costs.map((column) => [...column]), [...Array(8).keys()].map((i) => [i, BIG - i]));
	assert.deepEqual([...report.timeline.maxTime], [3000, BIG - 3]);
	assert.deepEqual([...report.timeline.allocatedBytes], [12000, BIG - 12]);
	assert.deepEqual([...report.slices.end], [1000, 1500]);
	assert.deepEqual([...report.slices.cellEnd], [2, 3]);
	assert.deepEqual([...report.slices.lossEnd], [0, 2]);
	assert.deepEqual([...report.slices.site], [0, 1, 0]);
	assert.deepEqual([...report.slices.keptCount], [3, 103, BIG - 3]);
	assert.deepEqual([...report.slices.lossCell], [0, 1]);
	assert.deepEqual([...report.slices.lossBytes], [-5, BIG]);
	assert.deepEqual([...report.slices.lossCount], [-1, 2]);
	assert.deepEqual(report.before.map((column) => [...column]), [...Array(8).keys()].map((i) => [BIG - i, i]));
	assert.deepEqual([report.timelineBefore.count, [...report.timelineBefore.resident]], [3, [10, BIG - 10, 7]]);
	assert.deepEqual(report.spreads.map((column) => [...column]),
		[0, 1, 2, 3].flatMap((i) => [[i, BIG - i], [i / 3, 2 ** (100 * i)]]));
	assert.deepEqual(report.spreadsBefore.map((column) => [...column]),
		[0, 1, 2, 3].flatMap((i) => [[BIG, 3 * i], [i / 7, i]]));
	const { slicesBefore } = report;
	assert.deepEqual([slicesBefore.end, slicesBefore.cellEnd, slicesBefore.site, slicesBefore.keptCount,
		slicesBefore.lossCount, slicesBefore.keptVariance, slicesBefore.lossUnseen].map((column) => [...column]),
	[[3000], [2], [1, 0], [3, 53], [-3], [1, 0.125], [-2]]);
	const { totalUnseen, totalVariance, keptUnseen, keptVariance, lossUnseen, lossVariance } = report.slices;
	assert.deepEqual([totalUnseen, totalVariance, keptUnseen, keptVariance, lossUnseen, lossVariance].map((column) =>
		[...column]), [[0, 8, BIG], [0.5, 0, 1e30], [7, 8, BIG], [0.5, 1, 1e30], [-9, BIG], [-0.25, 4]]);
	assert.deepEqual(report.sources.get(2), { changed: true, confidential: false, lines:
		new Map([[11, 'x'], [12, 'é']]) });
});

test('base64 and gzip come off', async () => {
	const bytes = packSmallReport();
	const text = '\n' + gzipSync(bytes).toString('base64') + '\n';
	const report = await sctmem.loadReport(text, '{"format":1,"domains":[],"captures":[]}');
	assert.equal(report.nodes.count, 3);
	assert.equal(report.meta.format, 1);
});

test('data cut anywhere are refused, not shown', () => {
	const bytes = packSmallReport();
	for (let length = 0; length < bytes.length; length++)
		assert.throws(() => sctmem.decodeColumns(bytes.slice(0, length)), /damaged|cut short|Invalid/, String(length));
});

test('data changed anywhere give an error or a report, never a hang', () => {
	const bytes = packSmallReport();
	for (let i = 0; i < bytes.length; i++) {
		for (const value of [0, 127, 128, 255]) {
			const changed = bytes.slice();
			changed[i] = value;
			try {
				const report = sctmem.decodeColumns(changed);
				assert.ok(report.nodes.parent.every((parent, node) => node === 0 || parent < node));
			} catch (error) {
				assert.match(error.message, /damaged|cut short|Invalid/);
			}
		}
	}
});

// ---- views against slow, obvious code

const ALL = { thread: -1, domain: -1 };

// Each site's stack as shown: from the outermost visible frame to the innermost, by group.
function visibleStack(report, groups, hidden, node) {
	const stack = [];
	for (; node > 0; node = report.nodes.parent[node]) {
		if (!hidden[node])
			stack.push(groups.of[report.nodes.frame[node]]);
	}
	return stack.reverse();
}

// path -> inclusive cost, and path -> own cost, by adding each site to each prefix.
function slowView(report, groups, hidden, column, filter, inverted) {
	const all = new Map();
	const self = new Map();
	const add = (map, key, value) => map.set(key, (map.get(key) || 0) + value);
	for (let i = 0; i < report.sites.count; i++) {
		const cost = report.sites.costs[column][i];
		if (!cost || !sctmem.siteSelected(report.sites, i, filter))
			continue;
		const stack = visibleStack(report, groups, hidden, report.sites.node[i]);
		if (inverted)
			stack.reverse();
		for (let length = 0; length <= stack.length; length++)
			add(all, stack.slice(0, length).join('.'), cost);
		add(self, stack.join('.'), cost);
	}
	return { all, self };
}

function fastView(view) {
	const all = new Map();
	const self = new Map();
	for (let v = 0; v < view.count; v++) {
		const path = sctmem.pathOf(view, v).join('.');
		assert.ok(!all.has(path), 'two nodes of one path');
		all.set(path, view.value[v]);
		if (view.self[v])
			self.set(path, view.self[v]);
	}
	return { all, self };
}

function checkLayout(view) {
	for (let v = 1; v < view.count; v++) {
		const parent = view.parent[v];
		assert.ok(parent < v && view.depth[v] === view.depth[parent] + 1);
		assert.ok(view.x[v] >= view.x[parent] && view.x[v] + view.value[v] <= view.x[parent] + view.value[parent]);
		if (view.depth[v - 1] === view.depth[v])
			assert.ok(view.x[v - 1] + view.value[v - 1] <= view.x[v], 'a level is in order');
	}
}

function variants(run) {
	for (let seed = 1; seed <= 12; seed++) {
		const report = randomReport(seed, 5 + seed * 9, 3 + seed, 10 + seed * 6);
		for (const by of ['line', 'function', 'module']) {
			for (const hide of ['', 'i', 'iml']) {
				const filter = { thread: seed % 4 - 1, domain: seed % 3 ? -1 : 4 };
				run(report, sctmem.groupFrames(report.frames, by), sctmem.hiddenNodes(report, hide), seed % 8, filter);
			}
		}
	}
}

test('a top-down view equals adding each stack by hand', () => {
	variants((report, groups, hidden, column, filter) => {
		const own = sctmem.exclusiveCosts(report, column, filter);
		const view = sctmem.buildTopDown(report.nodes, sctmem.indexChildren(report.nodes), groups, hidden, own);
		const slow = slowView(report, groups, hidden, column, filter, false);
		const fast = fastView(view);
		if (!slow.all.size)
			slow.all.set('', 0);
		assert.deepEqual(fast.all, new Map([...fast.all.keys()].map((key) => [key, slow.all.get(key)])));
		assert.equal(fast.all.size, slow.all.size);
		assert.deepEqual([...fast.self].sort(), [...slow.self].sort());
		checkLayout(view);
	});
});

test('an inverted view equals adding each stack backwards by hand', () => {
	variants((report, groups, hidden, column, filter) => {
		const own = sctmem.exclusiveCosts(report, column, filter);
		const view = sctmem.buildInverted(report.nodes, groups, hidden, own);
		const slow = slowView(report, groups, hidden, column, filter, true);
		if (!slow.all.size)
			slow.all.set('', 0);
		assert.deepEqual([...fastView(view).all].sort(), [...slow.all].sort());
		assert.deepEqual([...fastView(view).self].sort(), [...slow.self].sort());
		checkLayout(view);
	});
});

test('a path into an inverted view finds its node, even one too narrow to be there otherwise', () => {
	const report = randomReport(5, 60, 9, 60);
	const groups = sctmem.groupFrames(report.frames, 'line');
	const hidden = sctmem.hiddenNodes(report, '');
	const own = sctmem.exclusiveCosts(report, 0, ALL);
	own[0] += 1e12;
	assert.equal(sctmem.buildInverted(report.nodes, groups, hidden, own).count, 1);
	const node = own.findIndex((value, i) => i > 0 && value > 0 && report.nodes.parent[i] > 0);
	const path = [report.nodes.frame[node], report.nodes.frame[report.nodes.parent[node]]];
	const view = sctmem.buildInverted(report.nodes, groups, hidden, own, path);
	assert.deepEqual(sctmem.pathOf(view, view.focus), path);
	assert.ok(view.value[view.focus] > 0 && view.value[view.focus] <= own.reduce((a, b) => a + b) - 1e12);
});

test('all eight costs of a node add up in both views', () => {
	const report = randomReport(3, 80, 12, 120);
	const groups = sctmem.groupFrames(report.frames, 'function');
	const hidden = sctmem.hiddenNodes(report, 'i');
	const own = [...Array(8).keys()].map((column) => sctmem.exclusiveCosts(report, column, ALL));
	const sums = sctmem.sumCosts(report, ALL);
	// Some stacks have nothing of some costs.
	own.forEach((column, i) => column.forEach((_, node) => {
		if (i > 1 && (node + (i >> 1)) % 3 === 0)
			column[node] = 0;
	}));
	const counts = own[1].map((count, node) => count || (own.some((column) => column[node] !== 0) ? 1 : 0));
	// Every cost of the stacks that begin, or end, with these groups, by hand.
	const byHand = (path, inverted) => own.map((column) => [...column.keys()].reduce((sum, node) => {
		const stack = visibleStack(report, groups, hidden, node);
		const way = inverted ? stack.reverse() : stack;
		return sum + (path.every((group, i) => way[i] === group) ? column[node] : 0);
	}, 0));
	for (let column = 0; column < 8; column++) {
		const down = sctmem.buildTopDown(report.nodes, sctmem.indexChildren(report.nodes), groups, hidden, own[column],
			null, counts);
		const up = sctmem.buildInverted(report.nodes, groups, hidden, own[column], [], null, 0, counts);
		const all = own.map((one) => sctmem.inclusiveCosts(report.nodes, one));
		for (let v = 1; v < down.count; v++) {
			assert.ok(down.value[v] > 0);
			assert.equal(sctmem.costsOf(down, v, all)[column], down.value[v]);
			assert.deepEqual(sctmem.costsOf(down, v, all), byHand(sctmem.pathOf(down, v), false));
		}
		for (let v = 0; v < up.count; v++) {
			assert.equal(sctmem.costsOf(up, v, own)[column], up.value[v]);
			assert.deepEqual(sctmem.costsOf(up, v, own), byHand(sctmem.pathOf(up, v), true));
		}
		assert.equal(down.value[0], own[column].reduce((sum, one) => sum + one, 0));
		assert.ok(column > 1 || down.value[0] === sums[column]);
	}
});

test('the table counts recursion once', () => {
	variants((report, groups, hidden, column, filter) => {
		const own = sctmem.exclusiveCosts(report, column, filter);
		const view = sctmem.buildTopDown(report.nodes, sctmem.indexChildren(report.nodes), groups, hidden, own);
		const table = sctmem.tabulate(view);
		const all = new Float64Array(groups.count);
		const self = new Float64Array(groups.count);
		for (let i = 0; i < report.nodes.count; i++) {
			const stack = visibleStack(report, groups, hidden, i);
			new Set(stack).forEach((group) => {
				all[group] += own[i];
			});
			self[stack.at(-1) ?? 0] += own[i];
		}
		for (let group = 1; group < groups.count; group++) {
			assert.equal(table.all[group], all[group]);
			assert.equal(table.own[group], self[group]);
		}
	});
});

test('a tree a hundred thousand calls deep does not overflow any stack', () => {
	const count = 100000;
	const parent = Uint32Array.from({ length: count }, (_, i) => Math.max(0, i - 1));
	const nodes = { count, parent, frame: new Uint32Array(count).fill(1) };
	const report = randomReport(1, 2, 3, 1);
	const groups = sctmem.groupFrames(report.frames, 'line');
	const own = new Float64Array(count);
	own[count - 1] = 64;
	const view = sctmem.buildTopDown(nodes, sctmem.indexChildren(nodes), groups, new Uint8Array(3), own);
	assert.equal(view.levels.length - 1, count);
	assert.equal(sctmem.tabulate(view).all[1], 64);
	assert.equal(sctmem.buildInverted(nodes, groups, new Uint8Array(3), own).count, count);
});

test('hiding keeps the entry into the interpreter, and each stack a frame', () => {
	const [PY, C] = [0, 1];
	// _start > main > eval | > f.py > dict_resize > malloc;  malloc alone;  f.py > g.py
	const kind = Uint8Array.of(2, C, C, C, PY, C, C, C, PY);
	const flags = Uint8Array.of(0, 0, 1, 1, 0, 1, 32, 32, 0);
	const parent = Uint32Array.of(0, 0, 1, 2, 3, 4, 5, 0, 4);
	const report = {
		nodes: { count: 9, parent, frame: Uint32Array.from(parent.keys()) }, frames: { count: 9, kind, flags },
		sites: { count: 3, node: Uint32Array.of(6, 7, 8) },
	};
	assert.deepEqual([...sctmem.hiddenNodes(report, 'i')], [0, 0, 0, 1, 0, 1, 1, 0, 0]);
	assert.deepEqual([...sctmem.hiddenNodes(report, '')], Array(9).fill(0));
});

// ---- layout

test('layout draws each box that is wide enough, and covers the rest with slivers', () => {
	for (let seed = 1; seed < 30; seed++) {
		const report = randomReport(seed, 400, 30, 400);
		const own = sctmem.exclusiveCosts(report, 0, ALL);
		const view = sctmem.buildTopDown(report.nodes, sctmem.indexChildren(report.nodes),
			sctmem.groupFrames(report.frames, 'line'), new Uint8Array(30), own);
		const random = randomSource(seed);
		const window = { left: random() * view.value[0] / 2, width: view.value[0] * (0.001 + random() / 2) };
		const pixels = 40 + random() * 1000;
		for (let level = 0; level < view.levels.length - 1; level++) {
			const drawn = new Set();
			sctmem.layoutLevel(view, level, window, pixels, (node) => drawn.add(node), (left, width) => assert.ok(width > 0));
			for (let v = view.levels[level]; v < view.levels[level + 1]; v++) {
				const seen = view.x[v] + view.value[v] > window.left && view.x[v] < window.left + window.width;
				assert.equal(drawn.has(v), seen && view.value[v] * pixels / window.width >= 0.5);
			}
		}
	}
});

test('a million slivers cost as many steps as there are pixels', () => {
	const count = 1e6;
	const view = {
		levels: [0, count], x: Float64Array.from({ length: count }, (_, i) => i), value: new Float64Array(count).fill(1),
	};
	const began = performance.now();
	let boxes = 0;
	let covered = 0;
	sctmem.layoutLevel(view, 0, { left: 0, width: count }, 1000, () => boxes++, (left, width) => {
		covered += width;
	});
	assert.equal(boxes, 0);
	assert.ok(covered > 990 && covered <= 1001, String(covered));
	assert.ok(performance.now() - began < 500);
});

test('what is drawn at a place is what is hit there', () => {
	const report = randomReport(9, 300, 20, 300);
	const own = sctmem.exclusiveCosts(report, 0, ALL);
	const view = sctmem.buildTopDown(report.nodes, sctmem.indexChildren(report.nodes),
		sctmem.groupFrames(report.frames, 'line'), new Uint8Array(20), own);
	for (let v = 0; v < view.count; v++)
		assert.equal(sctmem.nodeAt(view, view.depth[v], view.x[v] + view.value[v] / 2), v);
	assert.equal(sctmem.nodeAt(view, 0, view.value[0] + 1), -1);
	assert.equal(sctmem.nodeAt(view, view.levels.length, 1), -1);
});

// ---- search

test('search finds functions, files, modules and lines', () => {
	const report = randomReport(2, 30, 8, 20);
	const names = (pattern) => {
		const { regex } = sctmem.compilePattern(pattern);
		return [...sctmem.matchFrames(report, regex)].map((one, i) => one ? i : -1).filter((i) => i >= 0);
	};
	assert.deepEqual(names('function_1$'), [2, 3]);
	assert.deepEqual(names('file_1\\.py'), [4, 5, 6, 7]);
	assert.deepEqual(names('file_0.py:3$'), [3]);
	assert.deepEqual(names('FUNCTION_1'), []);
	assert.deepEqual(names('Function_1'.toLowerCase()), [2, 3]);
	assert.deepEqual(names('no such'), []);
});

test('a pattern that is none is explained', () => {
	assert.match(sctmem.compilePattern('(').error, /group|parenthes/i);
	assert.ok(sctmem.compilePattern('a{').regex.test('a{'));
	assert.ok(sctmem.compilePattern('std::vector<').regex.test('std::vector<int>'));
});

test('what matches is counted once, however often its stack matches', () => {
	for (let seed = 1; seed < 10; seed++) {
		const report = randomReport(seed, 90, 8, 90);
		const matched = sctmem.matchFrames(report, /function_[12]$/);
		const own = sctmem.exclusiveCosts(report, 2, ALL);
		let sum = 0;
		for (let i = 0; i < report.nodes.count; i++) {
			let found = false;
			for (let node = i; node > 0; node = report.nodes.parent[node])
				found ||= matched[report.nodes.frame[node]] === 1;
			sum += found ? own[i] : 0;
		}
		assert.equal(sctmem.matchedValue(report.nodes, matched, own), sum);
	}
});

// ---- state

test('a state survives its address', () => {
	const address = new sctmem.Address(sctmem.VIEWS, { metric: 'leaked' });
	const state = { ...address.defaults, metric: 'peak', inverted: '1', search: 'a&b=<c>#%é\n', zoom: 'i1.22.3',
		thread: '4', hide: 'il', shape: 'flame' };
	assert.deepEqual(address.parse('#' + address.format(state)), state);
	assert.equal(address.format(address.defaults), '');
	assert.equal(address.defaults.metric, 'leaked');
});

test('an address that is nonsense gives a valid state', () => {
	const address = new sctmem.Address(sctmem.VIEWS, { metric: 'evil', view: '<script>' });
	for (const hash of ['#m=evil&u=__proto__&z=../x&h=<script>&t=-1&d=1e9x', '#%%%&=&&m&w=constructor', '#q=%E0%A4%A'])
		assert.deepEqual(address.parse(hash), address.defaults);
	assert.equal(address.defaults.metric, 'peak');
	assert.equal(address.defaults.view, sctmem.VIEWS[0].name);
});

// ---- views

test('views are told apart by name, key and letters', () => {
	const letters = Object.values(sctmem.COMMON_FIELDS).map((field) => field.letter);
	const keys = Object.keys(sctmem.COMMON_FIELDS);
	letters.push('w');
	for (const view of sctmem.VIEWS) {
		for (const text of [view.name, view.title, view.hint])
			assert.equal(typeof text, 'string');
		assert.match(view.name, /^[a-z]+$/);
		assert.match(view.key, /^[A-Z]$/);
		assert.ok(view.side.every((panel) => panel === 'table' || panel === 'details'));
		assert.equal(typeof view.create, 'function');
		for (const [key, field] of Object.entries(view.fields || {})) {
			keys.push(key);
			letters.push(field.letter);
		}
	}
	for (const all of [letters, keys, sctmem.VIEWS.map((view) => view.name), sctmem.VIEWS.map((view) => view.key)])
		assert.equal(new Set(all).size, all.length, all.join(' '));
});

// ---- leaks

test('what grew in one part, or across the border of two, grew once', () => {
	const words = [[0, 5, 5, 5, 5, 5, 5, 5], [0, 0, 3, 5, 5, 5, 5, 5], [0, 0, 0, 0, 0, 0, 3, 5], [0, 3, 3, 5, 5, 5, 5, 5],
		[0, 3, 5, 6, 6, 6, 6, 6], [3, 3, 3, 3, 3, 3, 5, 5], [0, 0, 0, 0, 0, 0, 0, 0]];
	assert.deepEqual(words.map((held) => sctmem.evidenceWord(held)),
		['once', 'once', 'once', 'stopped', 'stopped', 'growing', 'once']);
});

// ---- time line

test('the time line finds the point of a time', () => {
	const timeline = { count: 4, time: Float64Array.of(10, 20, 30, 40) };
	assert.deepEqual([0, 10, 19, 20, 35, 99].map((time) => sctmem.pointAt(timeline, time)), [0, 0, 0, 1, 2, 3]);
	assert.deepEqual([0, 14, 16, 36, 99].map((time) => sctmem.nearestPoint(timeline, time)), [0, 0, 1, 3, 3]);
});

test('the time line has room for its spikes and stacks what is counted', () => {
	const timeline = {
		count: 2, live: Float64Array.of(1, 2), liveMax: Float64Array.of(1, 9), resident: Float64Array.of(0, 12),
		domains: [Float64Array.of(1, 1), Float64Array.of(0, 1), Float64Array.of(0, 0), Float64Array.of(5, 5)],
	};
	assert.equal(sctmem.timelineMaximum(timeline, false), 9);
	assert.equal(sctmem.timelineMaximum(timeline, true), 12);
	assert.deepEqual(sctmem.stackedDomains(timeline, [0, 1, 2]), [0, 1]);
	// Names at the ends of lines keep their order and their distance, and stay within.
	assert.deepEqual(sctmem.spreadLabels([50, 20], 12, 10, 90), [50, 20]);
	assert.deepEqual(sctmem.spreadLabels([40, 38], 12, 10, 90), [50, 38]);
	assert.deepEqual(sctmem.spreadLabels([2, 1], 12, 10, 90), [22, 10]);
	assert.deepEqual(sctmem.spreadLabels([89, 88, 30], 12, 10, 90), [90, 78, 20]);
	const other = { count: 2, time: [10, 20], live: [1024, 2048], resident: [0, 4096] };
	const run = { duration_us: 20 };
	assert.equal(sctmem.beforeText(other, run, 12), 'before: live 1.00 KiB');
	assert.equal(sctmem.beforeText(other, run, 20), 'before: live 2.00 KiB, resident 4.00 KiB');
	assert.equal(sctmem.beforeText(other, run, 21), 'before: had ended');
	const one = { captures: [], badges: [] };
	assert.deepEqual(sctmem.allBadges({ ...one, sample: null }).length, sctmem.reportBadges(one).length);
	for (const end of [5, 12345, 754e6, 86400e6 * 3, 86400e6 * 400]) {
		const ticks = sctmem.timeTicks(0, end, 10);
		assert.ok(ticks.length >= 2 && ticks.length <= 11, String(ticks));
	}
});

// ---- header, rows, table

const capture = {
	path: 'c', host: 'h', executable: 'x', arguments: ['x'], pid: 1, start_ms: 0, state: 1, alive: false,
	damaged: false, problem: '', damaged_bytes: 0, lost_events: 0, lost_threads: 0, stacks_truncated: 0,
	stacks_degraded: 0, python_refused: 0, contradictions: 0, events: 5, tracer_bytes: 7,
	file_bytes: 9, python_version: 0, python_flags: 0, python_allocator: '',
};

test('a clean capture has no badge; each trouble has one, the worst first', () => {
	assert.deepEqual(sctmem.suppressedSum([['a', 5, 2], ['b', 0, 0], ['<c>', 7, 1]]), { bytes: 12, hits: 2, all: 3 });
	const badges = (changes, meta = {}) => sctmem.reportBadges({
		captures: [{ ...capture, ...changes }], clamped: 0, symbols_resolved: true, ...meta }).map((badge) => badge.level);
	assert.deepEqual(badges({}), []);
	assert.deepEqual(badges({ state: 0 }), ['warn']);
	assert.deepEqual(badges({ state: 0, alive: true }), ['info']);
	assert.deepEqual(badges({ segment_first: 1, segment_last: 9 }), []);
	assert.deepEqual(badges({ state: 5, segment_first: 3, segment_last: 9 }), ['warn', 'warn']);
	assert.equal(sctmem.captureState({ ...capture, state: 5 }), 'goes on in the next segment');
	assert.deepEqual(badges({ state: 2, lost_events: 3, stacks_truncated: 1 }), ['bad', 'bad', 'warn']);
	assert.deepEqual(badges({ damaged: true, problem: 'p' }, { clamped: 1, symbols_resolved: false }),
		['bad', 'warn', 'info']);
});

test('a command line is quoted as a shell wants it', () => {
	assert.equal(sctmem.commandLine(['python3', 'a b.py', "it's", '']), "python3 'a b.py' 'it'\\''s' ''");
});

test('rows sort both ways, equal ones by their number', () => {
	const keys = { 3: 5, 1: 5, 2: 9 };
	assert.deepEqual(sctmem.sortRows([3, 2, 1], (row) => keys[row], true), [2, 1, 3]);
	assert.deepEqual(sctmem.sortRows([3, 2, 1], (row) => keys[row], false), [1, 3, 2]);
});

test('a filter wants all of its words, in any case', () => {
	assert.ok(sctmem.textFilter('pandas  MERGE')('DataFrame.merge /x/pandas/y'));
	assert.ok(!sctmem.textFilter('pandas merge')('pandas'));
});

test('every box has a colour in both themes, and text on it can be read', () => {
	const luminance = (colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16) / 255)
		.map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
		.reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
	for (const theme of ['light', 'dark']) {
		const palette = sctmem.themePalette(theme);
		assert.equal(palette.fill.length, sctmem.CATEGORIES.length * sctmem.TONES);
		for (const fill of palette.fill) {
			for (const text of [palette.text, palette.textSoft]) {
				const [a, b] = [luminance(fill), luminance(text)].sort((x, y) => y - x);
				assert.ok((a + 0.05) / (b + 0.05) >= (text === palette.text ? 4.5 : 3), theme + ' ' + fill + ' ' + text);
			}
		}
	}
});

test('the model zooms where the address says, and to the nearest caller when that is gone', () => {
	const report = randomReport(7, 120, 10, 200);
	const model = new sctmem.Model(report);
	const base = { ...new sctmem.Address(sctmem.VIEWS).defaults };
	for (const inverted of ['', '1']) {
		const view = model.view({ ...base, inverted });
		for (let v = 0; v < view.count; v++) {
			const zoom = model.zoomText({ ...base, inverted }, view, v);
			const again = model.view({ ...base, inverted, zoom });
			assert.deepEqual(sctmem.pathOf(again, again.focus), sctmem.pathOf(view, v));
		}
	}
	assert.equal(model.view({ ...base, zoom: '999999' }).focus, 0);
	assert.equal(model.wholeOf(base), model.view(base).value[0]);
});

// ---- windows of time against a list of blocks

// Blocks with slices of birth and death (the number of slices: never), as the reader would cut them.
function randomSlices(seed, report, sliceCount, blockCount) {
	const random = randomSource(seed);
	const below = (limit) => Math.floor(random() * limit);
	const blocks = Array.from({ length: blockCount }, () => {
		const birth = below(sliceCount);
		const death = random() < 0.3 ? sliceCount : birth + below(sliceCount - birth + 1);
		return { site: below(report.sites.count), birth, death, size: below(500) };
	});
	const slices = { count: sliceCount, end: Float64Array.from({ length: sliceCount }, (_, i) => (i + 1) * 1000),
		cellEnd: [], lossEnd: [] };
	const columns = { site: [], totalBytes: [], totalCount: [], keptBytes: [], keptCount: [], lossCell: [], lossBytes: [],
		lossCount: [], totalUnseen: [], totalVariance: [], keptUnseen: [], keptVariance: [], lossUnseen: [],
		lossVariance: [] };
	const spreads = (name, list) => {
		columns[name + 'Unseen'].push(list.reduce((all, block) => all + block.size * 3, 0));
		columns[name + 'Variance'].push(list.reduce((all, block) => all + block.size * block.size, 0));
	};
	const cells = [];
	for (let slice = 0; slice < sliceCount; slice++) {
		for (let site = 0; site < report.sites.count; site++) {
			const own = blocks.filter((block) => block.site === site && block.birth === slice);
			if (own.length === 0)
				continue;
			const kept = own.filter((block) => block.death > slice);
			const sum = (list) => list.reduce((all, block) => all + block.size, 0);
			cells.push(own);
			for (const [name, value] of [['site', site], ['totalBytes', sum(own)], ['totalCount', own.length],
				['keptBytes', sum(kept)], ['keptCount', kept.length]])
				columns[name].push(value);
			spreads('total', own);
			spreads('kept', kept);
		}
		cells.forEach((own, cell) => {
			const gone = own.filter((block) => block.birth < slice && block.death === slice);
			if (gone.length) {
				columns.lossCell.push(cell);
				columns.lossBytes.push(gone.reduce((all, block) => all + block.size, 0));
				columns.lossCount.push(gone.length);
				spreads('loss', gone);
			}
		});
		slices.cellEnd.push(cells.length);
		slices.lossEnd.push(columns.lossCell.length);
	}
	for (const [name, values] of Object.entries(columns))
		slices[name] = Float64Array.from(values);
	return { slices, blocks };
}

test('a window has what the blocks of it say, for each site', () => {
	for (let seed = 1; seed <= 6; seed++) {
		const report = randomReport(seed, 40, 10, 25);
		const { slices, blocks } = randomSlices(seed, report, 9, 300);
		report.slices = slices;
		for (let from = 0; from < 9; from++) {
			for (let to = from; to < 9; to++) {
				const costs = sctmem.windowCosts(report, { from, to });
				const spreads = sctmem.windowSpreads(report, { from, to });
				for (let site = 0; site < 25; site++) {
					const born = (block) => block.site === site && block.birth <= to;
					const inside = (block) => born(block) && block.birth >= from;
					const alive = (block) => block.death > to;
					const lists = [inside, (block) => born(block) && alive(block), (block) => inside(block) && alive(block),
						(block) => inside(block) && block.death === 9].map((chosen) => blocks.filter(chosen));
					const sum = (list, of) => list.reduce((all, block) => all + of(block.size), 0);
					assert.deepEqual(costs.map((column) => column[site]),
						lists.flatMap((list) => [sum(list, (size) => size), list.length]));
					assert.deepEqual(spreads.map((column) => column[site]),
						lists.flatMap((list) => [sum(list, (size) => size * 3), sum(list, (size) => size * size)]));
				}
			}
		}
		const series = sctmem.liveSeries(slices, Uint8Array.from({ length: 25 }, (_, site) => site % 2));
		assert.deepEqual([...series], [...series.keys()].map((slice) => blocks.filter((block) => block.site % 2 &&
			block.birth <= slice && block.death > slice).reduce((all, block) => all + block.size, 0)));
	}
});

test('windows in the address are valid or none; borders are the nearest', () => {
	const slices = { count: 4, end: Float64Array.of(1000, 2000, 3000, 3500) };
	for (const [text, again] of [['', ''], ['2', '2'], ['0-3', '0-3'], ['3-2', ''], ['4', ''], ['1-4', '']])
		assert.equal(sctmem.windowText(sctmem.parseWindow(text, slices)), again);
	assert.equal(sctmem.parseWindow('1', undefined), null);
	for (const [time, border] of [[0, -1], [499, -1], [501, 0], [1499, 0], [1501, 1], [3200, 2], [3300, 3], [9999, 3]])
		assert.equal(sctmem.nearestBorder(slices, time), border, String(time));
	const report = { slices, meta: {} };
	assert.equal(sctmem.windowOptions(report, { from: 0, to: 1, instant: true }), '--at 2000us');
	assert.equal(sctmem.windowOptions(report, { from: 1, to: 3, instant: false }), '--time 1000001ns.. --at end');
	assert.equal(sctmem.windowOptions(report, { from: 2, to: 2, instant: false }), '--time 2000001ns..3000us --at 3000us');
});

test('a window changes what every view sums up, and going back brings the whole run', () => {
	const report = randomReport(3, 60, 10, 40);
	report.slices = randomSlices(3, report, 8, 400).slices;
	const model = new sctmem.Model(report);
	const base = { ...new sctmem.Address(sctmem.VIEWS).defaults };
	const whole = model.sumOf(base);
	model.setWindow('2-5');
	const costs = sctmem.windowCosts(report, { from: 2, to: 5 });
	const { counted } = report.sites;
	const sums = costs.map((column) => column.reduce((sum, value, site) => sum + counted[site] * value, 0));
	assert.deepEqual(model.sumOf(base), sums);
	for (const [metric, column] of [['total', 0], ['peak', 2], ['leaked', 4], ['temporary', 6]])
		assert.equal(model.view({ ...base, metric }).value[0], sums[column]);
	assert.equal(sctmem.metricLabel('total', report.meta), 'Allocated in it');
	model.setWindow('');
	assert.deepEqual(model.sumOf(base), whole);
	assert.equal(sctmem.metricLabel('total', report.meta), 'Total');
});

test('intervals of a window are those of its own blocks and of how coarse the sample was until then', () => {
	const report = randomReport(5, 60, 10, 40);
	report.slices = randomSlices(5, report, 8, 400).slices;
	report.spreads = sctmem.windowSpreads(report, { from: 0, to: 7 });
	report.meta.sample_steps = [[0, 64, 0], [0, 512, 3000], [0, 4096, 6001]];
	report.meta.sample_means = [4096, 512, 4096, 4096];
	const model = new sctmem.Model(report);
	const base = { ...new sctmem.Address(sctmem.VIEWS).defaults };
	const whole = model.intervalsOfAll(base);
	// Of the slices from 2 on, at a border before, at and behind that of a step.
	for (const [to, mean] of [[2, 512], [3, 512], [5, 512], [6, 4096]]) {
		model.setWindow('2-' + to);
		const spreads = sctmem.windowSpreads(report, { from: 2, to });
		const costs = sctmem.windowCosts(report, { from: 2, to });
		const { counted } = report.sites;
		const sum = (column) => column.reduce((all, value, site) => all + counted[site] * value, 0);
		const expected = {};
		[['total', 4096], ['peak', mean], ['leaked', mean], ['temporary', 4096]].forEach(([metric, own], i) => {
			expected[metric] = sctmem.interval(sum(costs[2 * i]), sum(spreads[2 * i]), sum(spreads[2 * i + 1]), own);
		});
		assert.deepEqual(model.intervalsOfAll(base), expected, String(to));
		const view = model.topDown(base);
		const parts = [];
		for (let v = 1; v < view.count; v++) {
			const [low, high] = model.intervalsOf(base, view, v, model.costsOf(base, view, v)).peak;
			assert.ok(low <= view.value[v] && view.value[v] <= high);
			parts.push(high);
		}
		assert.ok(parts.length > 10);
		const groups = model.groupIntervals(base);
		for (const group of model.table(base).groups) {
			const [low, high] = groups('all', group, 2);
			assert.ok(low <= model.table(base).all[group] && model.table(base).all[group] <= high);
		}
	}
	model.setWindow('');
	assert.deepEqual(model.intervalsOfAll(base), whole);
	assert.deepEqual(sctmem.windowMeans(report, { to: 1 }), [4096, 64, 64, 4096]);
});

test('an interval says its unit once, and blocks without one that they are estimates', () => {
	assert.equal(sctmem.intervalText([1024, 2048]), '1.00 to 2.00 KiB');
	assert.equal(sctmem.intervalText([10, 2048]), '10 B to 2.00 KiB');
	assert.equal(sctmem.intervalText([7, 7]), 'exact');
	assert.equal(sctmem.blocksText('5', [1, 2]), '≈ 5');
	for (const exact of [[2, 2], undefined])
		assert.equal(sctmem.blocksText('5', exact), '5');
	assert.match(sctmem.blocksTitle('5 blocks', [1, 2]), /estimate; no interval here/);
});

test('the interval of a growth is that of two estimates, or of one', () => {
	assert.deepEqual(sctmem.differenceInterval(100, [90, 140], 300, [260, 330]), [200 - 57, 200 + 32]);
	assert.deepEqual(sctmem.differenceInterval(300, [260, 330], 100, [90, 140]), [-200 - 32, -200 + 57]);
	assert.deepEqual(sctmem.differenceInterval(5, [5, 5], 7, [7, 7]), [2, 2]);
	assert.equal(sctmem.growthIntervalText([2, 2]), 'exact');
	assert.equal(sctmem.growthIntervalText([-1024, 2048]), '−1.00 KiB to +2.00 KiB');
	const report = randomReport(9, 40, 10, 30);
	const columns = () => report.sites.costs.map((column) => column.map((value) => value * 3));
	const sums = (costs) => costs.map((column) => column.reduce((all, value) => all + value, 0));
	const pick = (list, column) => list[column];
	assert.equal(sctmem.growthIntervals(report, 2, sums), null);
	report.spreads = columns();
	report.meta.sample_means = [1, 64, 3, 4];
	report.meta.before_run = {};
	const [unseen, variance] = sums(report.spreads).slice(2, 4);
	const one = sctmem.growthIntervals(report, 2, sums)(500, 1e6, pick);
	assert.deepEqual(one.after, sctmem.interval(1e6, unseen, variance, 64));
	assert.deepEqual([one.before, one.growth], [[500, 500], one.after.map((end) => end - 500)]);
	report.spreadsBefore = columns();
	report.meta.before_run = { sample_means: [1, 4096, 3, 4] };
	const both = sctmem.growthIntervals(report, 2, sums)(1e6, 1e6, pick);
	assert.deepEqual(both.before, sctmem.interval(1e6, unseen, variance, 4096));
	assert.ok(both.growth[0] < 0 && both.growth[1] > 0);
});

test('the peak of a window is exact where its ends are points of the time line, else between two figures', () => {
	const random = randomSource(11);
	const below = (limit) => Math.floor(random() * limit);
	for (let round = 0; round < 40; round++) {
		// A heap that changes at each moment; slices of 60 of them, points of so many.
		const width = [10, 20, 60, 120, 180][round % 5];
		const live = Array.from({ length: 360 }, () => below(1000));
		const ends = (step) => Float64Array.from({ length: 360 / step }, (_, i) => (i + 1) * step);
		const slices = { count: 6, end: ends(60), cellEnd: [1, 2, 3, 4, 5, 6], lossEnd: [0, 1, 2, 3, 4, 5],
			site: new Uint8Array(6), keptBytes: [], lossCell: [0, 1, 2, 3, 4], lossBytes: [] };
		slices.end.forEach((end, i) => {
			slices.keptBytes.push(live[end - 1]);
			slices.lossBytes.push(live[end - 1]);
		});
		// What happens at moment t, from 1 on, holds until t + 1; what a point has includes what held before it began.
		const highest = (from, to) => {
			let time = from;
			for (let t = from; t <= to; t++)
				time = (t ? live[t - 1] : 0) > (time ? live[time - 1] : 0) ? t : time;
			return [time ? live[time - 1] : 0, time];
		};
		const points = [...ends(width)].map((end) => highest(end - width, end));
		const timeline = { count: points.length, time: ends(width), liveMax: points.map(([bytes]) => bytes),
			maxTime: points.map(([, time]) => time) };
		for (let from = 0; from < 6; from++) {
			for (let to = from; to < 6; to++) {
				const report = { slices, timeline, sites: { counted: [1] }, meta: { captures: [{}] } };
				const peak = sctmem.windowPeak(report, { from, to });
				const [most, when] = highest(from * 60, to * 60 + 60);
				assert.ok(peak.low <= most && most <= peak.high);
				if (60 % width === 0)
					assert.deepEqual(peak, { low: most, high: most, time: when });
				if (peak.low === peak.high)
					assert.equal(peak.time, when);
				report.meta.captures = [{ aggregated_peak_bytes: 7 }, { aggregated_peak_bytes: 8 }];
				assert.equal(sctmem.windowPeak(report, { from, to }).high, peak.high + 15);
				report.meta.captures = [{ compacted_us: 5 }];
				assert.equal(sctmem.windowPeak(report, { from, to }).high, Infinity);
				assert.equal(sctmem.windowPeak(report, { from, to, instant: true }), null);
			}
		}
	}
	const text = (low, high) => sctmem.windowPeakText({ meta: { window: { peak:
		{ low, high, time: 1500 } } } });
	assert.equal(text(2048, 2048), 'highest in the window 2.00 KiB at 1.50 ms');
	assert.equal(text(2048, 4096), 'highest in the window between 2.00 KiB and 4.00 KiB');
	assert.equal(text(2048, Infinity), 'highest in the window at least 2.00 KiB');
	assert.equal(sctmem.windowPeakText({ meta: {} }), '');
});

test('a window of two runs is one of the same times, or of its own, and going back brings both whole', () => {
	const slices = (width, count, last) => ({ count, end: Float64Array.from({ length: count }, (_, i) => i === count - 1 ?
		last : (i + 1) * width) });
	const fine = slices(100, 12, 1150);
	const times = (start, end) => sctmem.sameWindow(fine, { start, end, instant: false });
	assert.deepEqual(times(0, 400), { from: 0, to: 3, instant: false });
	assert.deepEqual(times(200, 400), { from: 2, to: 3, instant: false });
	assert.deepEqual(times(1100, 9000), { from: 11, to: 11, instant: false });
	assert.equal(times(1200, 9000), null);
	assert.deepEqual(sctmem.sameWindow(fine, { start: 0, end: 700, instant: true }), { from: 0, to: 6, instant: true });
	assert.equal(sctmem.sameWindow(fine, { start: 0, end: 4000, instant: true }), null);
	const report = randomReport(4, 60, 10, 40);
	report.slices = randomSlices(4, report, 8, 400).slices;
	report.slicesBefore = randomSlices(14, report, 5, 300).slices;
	report.before = report.sites.costs.map((column) => column.map((value) => value * 2));
	report.meta.before = [1, 2, 3, 4, 5, 6, 7, 8];
	report.meta.before_run = { captures: [] };
	const [whole, total] = [report.before, report.meta.before];
	const model = new sctmem.Model(report);
	const of = (from, to) => sctmem.windowCosts(sctmem.runBefore(report), { from, to });
	for (const [window, own, from, to] of [['2-3', '', 2, 3], ['2-3', '0-1', 0, 1], ['1-7', '', 1, 4], ['3', '', 0, 3],
		['3', '0-1', 0, 3]]) {
		model.setWindow(window, own);
		assert.deepEqual(report.before, of(from, to), window + ' ' + own);
		const { counted } = report.sites;
		assert.deepEqual(report.meta.before, of(from, to).map((column) => column.reduce((sum, value, site) =>
			sum + counted[site] * value, 0)));
		assert.equal(sctmem.windowTitle(report), report.meta.window.title + (report.meta.window.before.title ===
			report.meta.window.title ? '' : ', before ' + report.meta.window.before.title));
	}
	model.setWindow('6-7');
	assert.ok(report.before.every((column) => column.every((value) => value === 0)));
	assert.match(sctmem.windowTitle(report), /, before had ended$/);
	model.setWindow('');
	assert.deepEqual([report.before, report.meta.before], [whole, total]);
});
