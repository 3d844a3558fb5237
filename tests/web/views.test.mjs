// SPDX-License-Identifier: MIT
// What single views compute, against slow obvious sums over whole stacks.
import assert from 'node:assert/strict';
import test from 'node:test';
import { randomReport, randomSource, sctmem } from './load.mjs';

const ALL = { thread: -1, domain: -1 };
const DEFAULTS = new sctmem.Address(sctmem.VIEWS).defaults;

// The groups of a node's stack from the outermost, without hidden frames.
function stackOf(report, groups, hidden, node) {
	const stack = [];
	for (; node > 0; node = report.nodes.parent[node]) {
		if (!hidden[node])
			stack.unshift(groups.of[report.nodes.frame[node]]);
	}
	return stack;
}

// A call of a function that is already on the stack goes back to that call.
function foldStack(stack) {
	const folded = [];
	for (const group of stack) {
		const at = folded.indexOf(group);
		if (at < 0)
			folded.push(group);
		else
			folded.length = at + 1;
	}
	return folded;
}

function sumPaths(report, column, filter, stackOfSite, inverted) {
	const all = new Map();
	for (let site = 0; site < report.sites.count; site++) {
		const cost = report.sites.costs[column][site];
		if (!cost || !sctmem.siteSelected(report.sites, site, filter))
			continue;
		const { part, stack } = stackOfSite(site);
		const path = [...part, ...(inverted ? stack.reverse() : stack)];
		for (let length = 0; length <= path.length; length++) {
			const key = path.slice(0, length).join('.');
			all.set(key, (all.get(key) || 0) + cost);
		}
	}
	return [...all].sort();
}

function viewPaths(view) {
	return [...Array(view.count).keys()].map((v) => [sctmem.pathOf(view, v).join('.'), view.value[v]]).sort();
}

function forReports(run) {
	for (let seed = 1; seed <= 8; seed++)
		run(randomReport(seed, 10 + seed * 12, 3 + seed, 30 + seed * 8), seed);
}

test('split, hidden and folded trees equal adding each stack by hand', () => {
	forReports((report, seed) => {
		for (const split of ['', 'thread', 'domain', 'process']) {
			for (const recursion of ['', '1']) {
				for (const inverted of ['', '1']) {
					const state = { ...DEFAULTS, metric: 'total', split, recursion, inverted, group: ['line', 'function'][seed % 2],
						hide: ['', 'i', 'il'][seed % 3] };
					const model = new sctmem.Model(report);
					const { groups } = model.groupsOf(state);
					const hidden = sctmem.hiddenNodes(report, state.hide);
					const part = (site) => ({
						'': [], thread: [groups.of[report.parts.thread + report.sites.thread[site]]],
						domain: [groups.of[report.parts.domain + report.sites.domain[site]]],
						process: [groups.of[report.parts.process]],
					})[split];
					const slow = sumPaths(report, 0, ALL, (site) => {
						const stack = stackOf(report, groups, hidden, report.sites.node[site]);
						return { part: part(site), stack: recursion ? foldStack(stack) : stack };
					}, inverted);
					assert.deepEqual(viewPaths(model.view(state)), slow, JSON.stringify(state));
				}
			}
		}
	});
});

test('splitting and merging change no figure of the table', () => {
	forReports((report) => {
		const model = new sctmem.Model(report);
		const plain = model.table({ ...DEFAULTS, metric: 'total' });
		for (const split of ['thread', 'domain']) {
			for (const recursion of ['', '1']) {
				const other = model.table({ ...DEFAULTS, metric: 'total', split, recursion });
				assert.deepEqual(other.groups, plain.groups);
				for (const column of ['own', 'all'])
					assert.deepEqual(other.groups.map((i) => other[column][i]), plain.groups.map((i) => plain[column][i]));
			}
		}
	});
});

test('a zoom stays where it was when recursion is merged, and costs of a node add up in every tree', () => {
	forReports((report) => {
		const model = new sctmem.Model(report);
		for (const split of ['', 'thread']) {
			for (const recursion of ['', '1']) {
				const state = { ...DEFAULTS, metric: 'total', split, recursion };
				const view = model.view(state);
				for (let v = 1; v < view.count; v++) {
					const zoomed = model.view({ ...state, zoom: model.zoomText(state, view, v) });
					assert.equal(zoomed.focus, v);
					assert.equal(model.costsOf(state, view, v)[0], view.value[v]);
				}
			}
		}
	});
});

test('all costs of groups are those of the table of each metric', () => {
	forReports((report, seed) => {
		const model = new sctmem.Model(report);
		for (const group of ['line', 'function', 'module']) {
			const state = { ...DEFAULTS, group, hide: ['', 'i', 'iml'][seed % 3], thread: ['', '1'][seed % 2] };
			const costs = model.groupCosts(state);
			for (const metric of sctmem.METRICS) {
				for (const unit of ['bytes', 'count']) {
					const table = model.table({ ...state, metric, unit });
					const column = sctmem.costColumn(metric, unit);
					for (let i = 1; i < table.own.length; i++) {
						assert.equal(costs.own[column][i], table.own[i]);
						assert.equal(costs.all[column][i], table.all[i]);
					}
				}
			}
		}
	});
});

test('callers and callees of a function are all that leads to it and all below it', () => {
	forReports((report, seed) => {
		const model = new sctmem.Model(report);
		const state = { ...DEFAULTS, metric: 'total', group: ['line', 'function'][seed % 2], hide: ['', 'i'][seed % 2] };
		const { groups } = model.groupsOf(state);
		const hidden = sctmem.hiddenNodes(report, state.hide);
		const table = model.table(state);
		for (const group of table.groups) {
			const { callers, callees } = model.around(state, group);
			const up = new Map();
			const down = new Map();
			for (let site = 0; site < report.sites.count; site++) {
				const stack = stackOf(report, groups, hidden, report.sites.node[site]);
				const at = stack.indexOf(group);
				const cost = report.sites.costs[0][site];
				if (at < 0 || !cost || !report.sites.counted[site])
					continue;
				for (const [map, path] of [[up, stack.slice(0, at).reverse()], [down, stack.slice(at + 1)]]) {
					for (let length = 0; length <= path.length; length++) {
						const key = path.slice(0, length).join('.');
						map.set(key, (map.get(key) || 0) + cost);
					}
				}
			}
			assert.deepEqual(viewPaths(callers), [...up].sort());
			assert.deepEqual(viewPaths(callees), [...down].sort());
			assert.equal(callers.value[0], table.all[group]);
			assert.equal(callees.self[0] <= table.own[group], true);
		}
	});
});

test('each line has what it held over time, as if its sites were chosen one by one', () => {
	forReports((report, seed) => {
		const random = randomSource(seed);
		const below = (limit) => Math.floor(random() * limit);
		const numbers = (length, limit) => Float64Array.from({ length }, () => below(limit));
		const slices = {
			count: 5, cellEnd: [7, 7, 12, 20, 30], lossEnd: [0, 3, 9, 9, 14], site: numbers(30, report.sites.count),
			keptBytes: numbers(30, 1000), keptCount: numbers(30, 5), lossCell: numbers(14, 7), lossBytes: numbers(14, 100),
		};
		const lines = sctmem.indexLines(report.frames);
		const sums = sctmem.sumLines(report, lines, new Uint8Array(report.nodes.count), ALL, 'bytes', 1);
		for (const file of new Set(lines.file)) {
			const series = sctmem.lineSeries(slices, lines, sums, file);
			for (let entry = 0; entry < lines.count; entry++) {
				const chosen = sums.ownPython.map((own, site) => (own === entry || sums.ownNative[site] === entry ? 1 : 0));
				const slow = sctmem.liveSeries(slices, chosen);
				if (series.has(entry))
					assert.deepEqual(series.get(entry), slow);
				else if (lines.file[entry] === file)
					assert.ok(slow.every((bytes) => bytes === 0));
			}
		}
	});
});

test('costs of lines equal adding each stack by hand', () => {
	forReports((report) => {
		const { sites, nodes, frames } = report;
		const lines = sctmem.indexLines(frames);
		const hidden = sctmem.hiddenNodes(report, 'i');
		const sums = sctmem.sumLines(report, lines, hidden, ALL, 'bytes', 1);
		const own = new Float64Array(lines.count);
		const all = new Float64Array(lines.count);
		const python = new Float64Array(lines.count);
		for (let site = 0; site < sites.count; site++) {
			const cost = sites.costs[0][site];
			if (!sites.counted[site])
				continue;
			const stack = [];
			for (let node = sites.node[site]; node > 0; node = nodes.parent[node]) {
				if (!hidden[node])
					stack.push(nodes.frame[node]);
			}
			for (const entry of new Set(stack.map((frame) => lines.of[frame])))
				all[entry] += cost;
			const innermost = stack.findIndex((frame) => frames.kind[frame] === sctmem.KIND_PYTHON);
			const entry = innermost < 0 ? -1 : lines.of[stack[innermost]];
			if (entry >= 0) {
				own[entry] += cost;
				python[entry] += sites.domain[site] === 1 ? cost : 0;
			}
		}
		const total = sctmem.METRICS.indexOf('total');
		assert.deepEqual(sums.own[total], own);
		assert.deepEqual(sums.python[total], python);
		assert.deepEqual(sums.all[total], all);
	});
});

test('a spark is as wide as its box and keeps its peaks', () => {
	assert.equal(sctmem.sparkPath(new Float64Array(9), 4, 10), '');
	assert.equal(sctmem.sparkPath(Float64Array.of(0, 5, 10, 0), 2, 10), 'M0 10L0 5L1 5L1 0L2 0L2 10Z');
	const spike = new Float64Array(1000);
	spike[777] = 3;
	assert.ok(sctmem.sparkPath(spike, 50, 14).includes('L38 0L39 0'));
});

test('pictures are called as capture and view, whatever the capture is called', () => {
	const name = (path, before) => sctmem.pictureName({ captures: path === null ? [] : [{ path }],
		before_run: before ? { captures: [{ path: before }] } : undefined }, 'flame', 'svg');
	assert.equal(name('/tmp/run/app.4242.bin'), 'app.4242-flame.svg');
	assert.equal(name('b.bin', 'x/a.bin'), 'b-against-a-flame.svg');
	assert.equal(name('/tmp/..bin'), 'sctmem-flame.svg');
	assert.equal(name(null), 'sctmem-flame.svg');
	assert.equal(name('a/<b>\u202e"c\n.bin'), 'b_c_-flame.svg');
	assert.equal(name('x'.repeat(5000)).length, 80 + '-flame.svg'.length);
});

test('what is drawn as SVG has its dashes, opacity, outlines and place, and its texts escaped', () => {
	const context = new sctmem.SvgContext(100, 50, { font: '11px x' });
	context.globalAlpha = 0.5;
	context.fillRect(1, 2, 3, 4);
	context.globalAlpha = 1;
	context.setLineDash([4, 3]);
	context.beginPath();
	context.lineTo(1, 1);
	context.lineTo(9, 1);
	context.stroke();
	context.setLineDash([]);
	context.strokeText('<script>&"', 5, 5);
	sctmem.drawBelow(context, 20, () => {
		context.setTransform(1, 0, 0, 1, 0, 0);
		context.fillRect(0, 0, 1, 1);
	});
	context.fillRect(7, 7, 1, 1);
	const [alpha, dashed, text, below, plain] = context.parts;
	assert.match(alpha, / opacity="0.5"/);
	assert.match(dashed, /^<path d="M1 1L9 1" .*stroke-dasharray="4 3"/);
	assert.match(text, /fill="none" stroke="#000".*>&lt;script&gt;&amp;&quot;<\/text>$/);
	assert.match(below, /transform="matrix\(1 0 0 1 0 20\)"/);
	assert.doesNotMatch(plain, /transform|opacity/);
	assert.equal(Object.hasOwn(context, 'setTransform'), false);
});

test('stretches without recording join where they touch, and are told where they are', () => {
	assert.deepEqual(sctmem.joinStretches([[50, 60], [10, 20], [15, 30], [31, 40]], 1), [[10, 40], [50, 60]]);
	assert.deepEqual(sctmem.joinStretches([], 1), []);
	const capture = { pid: 7, gaps: 2, lost_events: 0 };
	const meta = { captures: [capture], gaps: [[0, 10, 20, 2048, 3], [0, 40, 50, 0, 0]], sample_steps: [[0, 65536, 30]] };
	assert.deepEqual(sctmem.stretchTexts(meta, 0, 9), []);
	assert.deepEqual(sctmem.stretchTexts(meta, 15, 16),
		['not recorded 10 µs to 20 µs, then 2.00 KiB in 3 blocks were not followed any more']);
	assert.deepEqual(sctmem.stretchTexts(meta, 45, 46),
		['not recorded 40 µs to 50 µs', 'sampled: a block about every 64.0 KiB']);
	assert.deepEqual(sctmem.stretchTexts({ ...meta, captures: [capture, capture] }, 31, 32),
		['sampled: a block about every 64.0 KiB (process 7)']);
	assert.deepEqual(sctmem.stretchLegend(meta).map(([, text]) => text), ['not recorded', 'sampled']);
	assert.deepEqual(sctmem.stretchLegend({ captures: [{ gaps: 0, lost_events: 5 }], gaps: [] }).map(([, text]) => text),
		['5 events lost']);
});
