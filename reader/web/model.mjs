// SPDX-License-Identifier: MIT
// What a state shows, computed and kept: own costs, views, tables.  No part of it knows the document.
import { COSTS } from './data.mjs';
import { buildAround, buildInverted, buildTopDown, costColumn, costsOf, exclusiveCosts } from './tree.mjs';
import { groupCosts, groupFrames, hiddenNodes, inclusiveCosts, indexChildren, outermostNodes } from './tree.mjs';
import { METRICS, exclusiveSums, pathOf, sumCosts, tabulate, withCosts } from './tree.mjs';
import { interval } from './intervals.mjs';
import { foldNodes, splitNodes } from './derive.mjs';
import { compilePattern, matchFrames, matchGroups, matchedValue } from './search.mjs';
import { groupTones } from './palette.mjs';
import { parseWindow, runBefore, sameWindow, windowCosts, windowInfo, windowMeans } from './slices.mjs';
import { windowSpreads, windowText } from './slices.mjs';

// A few values by key, the oldest dropped: going back and forth costs nothing, and memory stays bounded.
class Recent {
	constructor(limit) {
		this.limit = limit;
		this.values = new Map();
	}

	get(key, make) {
		let value = this.values.get(key);
		if (value === undefined)
			value = make();
		this.values.delete(key);
		this.values.set(key, value);
		if (this.values.size > this.limit)
			this.values.delete(this.values.keys().next().value);
		return value;
	}
}

// For each node the part that it lies in.
function partsOf(nodes) {
	const parts = new Uint32Array(nodes.count);
	for (let i = 1; i < nodes.count; i++)
		parts[i] = nodes.parent[i] === 0 ? i : parts[nodes.parent[i]];
	return parts;
}

// costs, and the sums of how uncertain they are -> { metric: [low, high] }
function intervalsFrom(costs, sums, meta) {
	return Object.fromEntries(METRICS.map((metric) => {
		const column = costColumn(metric, 'bytes');
		return [metric, interval(costs[column], sums[column], sums[column + 1], meta.sample_means[column / 2])];
	}));
}

export class Model {
	constructor(report) {
		this.report = report;
		// Each view of a million nodes is 60 MB; of a small report many can be kept.
		const limit = Math.max(2, Math.min(12, Math.floor(2e6 / (report.nodes.count + 1))));
		this.own = new Recent(Math.max(4, limit));
		this.costs = new Recent(1);
		this.spreads = new Recent(1);
		this.views = new Recent(limit);
		this.tables = new Recent(limit);
		this.sums = new Recent(64);
		this.groupings = new Recent(3);
		this.hidden = new Recent(4);
		this.splits = new Recent(2);
		this.folds = new Recent(2);
		this.outermost = new Recent(3);
		this.byGroup = new Recent(2);
		this.groupSpreads = new Recent(2);
		this.arounds = new Recent(4);
		this.children = new WeakMap();
		this.searches = new Recent(16);
		this.windows = new Recent(8);
		this.window = '';
		this.whole = this.shownCosts();
	}

	// What the page's data say that depends on the window: everything else is summed up from it.
	shownCosts() {
		const { sites, meta, spreads, before, spreadsBefore } = this.report;
		return {
			before, spreadsBefore, totalBefore: meta.before, meansBefore: meta.before_run?.sample_means,
			sites: [...sites.costs], spreads, means: meta.sample_means, total: meta.total,
			domains: meta.domains?.map(({ costs }) => costs),
			allocators: Object.entries(meta.allocators ?? {}).map(([number, { costs }]) => [number, costs]),
		};
	}

	// Every view shows the costs of a window of time from now on; '': those of the whole run.  They are put in the place
	// of the others, so that trees made before, and views, need not know of it.
	// textBefore: of the run compared with; '': the same time since its start.
	setWindow(text, textBefore = '') {
		const { report, whole } = this;
		const window = parseWindow(text, report.slices);
		const info = window && windowInfo(report, window);
		const before = window && this.windowBefore(info, textBefore);
		const key = [window, before].map(windowText).join('/');
		if (key === this.window)
			return;
		this.window = window ? key : '';
		report.meta.window = info && { ...info, before: before && windowInfo(runBefore(report), before) };
		const shown = window ? this.windows.get(this.window, () => {
			const costs = windowCosts(report, window);
			const sum = (filter) => sumCosts(withCosts(report, costs), filter);
			return {
				...this.costsBefore(before),
				sites: costs, spreads: windowSpreads(report, window), means: windowMeans(report, window),
				total: sum({ thread: -1, domain: -1 }),
				domains: whole.domains.map((_, domain) => sum({ thread: -1, domain })),
				allocators: whole.allocators.map(([number]) => [number,
					sum({ thread: -1, domain: -1, allocator: Number(number) })]),
			};
		}) : whole;
		report.sites.costs.splice(0, COSTS, ...shown.sites);
		if (report.before) {
			report.before = shown.before;
			report.spreadsBefore = shown.spreadsBefore;
			report.meta.before = shown.totalBefore;
			report.meta.before_run.sample_means = shown.meansBefore;
		}
		report.spreads = shown.spreads;
		report.meta.sample_means = shown.means;
		report.meta.total = shown.total;
		shown.domains.forEach((costs, domain) => report.meta.domains[domain].costs = costs);
		for (const [number, costs] of shown.allocators)
			report.meta.allocators[number].costs = costs;
	}

	windowBefore(info, text) {
		const { slicesBefore } = this.report;
		const own = parseWindow(text, slicesBefore);
		return own?.instant === info.instant ? own : slicesBefore && sameWindow(slicesBefore, info);
	}

	// window: null: the run had ended, nothing of it is in the window.
	costsBefore(window) {
		const { report } = this;
		if (!report.before)
			return {};
		const nothing = () => report.before.map((column) => new Float64Array(column.length));
		const run = runBefore(report);
		const before = window ? windowCosts(run, window) : nothing();
		return {
			before, spreadsBefore: window ? windowSpreads(run, window) : this.whole.spreadsBefore && nothing(),
			totalBefore: sumCosts(withCosts(report, before), { thread: -1, domain: -1 }),
			meansBefore: window ? windowMeans(run, window) : [0, 0, 0, 0],
		};
	}

	filter(state) {
		const { threads, meta } = this.report;
		const thread = state.thread === '' ? -1 : Number(state.thread);
		const domain = state.domain === '' ? -1 : Number(state.domain);
		return {
			thread: thread < threads.count ? thread : -1,
			domain: domain < meta.domains.length ? domain : -1,
		};
	}

	filterKey(state) {
		const { thread, domain } = this.filter(state);
		return thread + '/' + domain + '/' + this.window;
	}

	// The report whose tree the state is about: of the page, split into parts, recursion merged.
	reportOf(state) {
		const split = this.splits.get(state.split, () => splitNodes(this.report, state.split));
		return state.recursion ? this.folds.get(this.reportKey(state),
			() => foldNodes(split, this.groupsOf(state).groups, state.hide)) : split;
	}

	reportKey(state) {
		return [state.split, ...(state.recursion ? [state.group, state.hide] : [])].join(':');
	}

	childrenOf(report) {
		if (!this.children.has(report.nodes))
			this.children.set(report.nodes, indexChildren(report.nodes));
		return this.children.get(report.nodes);
	}

	ownOf(state, column = costColumn(state.metric, state.unit)) {
		return this.own.get([column, this.filterKey(state), this.reportKey(state)].join('|'),
			() => exclusiveCosts(this.reportOf(state), column, this.filter(state)));
	}

	// Of the nodes that cost anything: all that was allocated there.
	countsOf(state) {
		return this.ownOf(state, costColumn('total', 'count'));
	}

	sumOf(state) {
		return this.sums.get(this.filterKey(state), () => sumCosts(this.report, this.filter(state)));
	}

	wholeOf(state) {
		return this.sumOf(state)[costColumn(state.metric, state.unit)];
	}

	groupsOf(state) {
		return this.groupings.get(state.group, () => {
			const groups = groupFrames(this.report.frames, state.group);
			return { groups, tones: groupTones(this.report, groups) };
		});
	}

	// Folded trees have left out already what is hidden.
	hiddenOf(state) {
		return this.hidden.get(this.reportKey(state) + '|' + state.hide,
			() => hiddenNodes(this.reportOf(state), state.recursion ? '' : state.hide));
	}

	viewKey(state) {
		return [state.metric, state.unit, this.filterKey(state), state.group, state.hide, this.reportKey(state)].join('|');
	}

	topDown(state) {
		return this.views.get('t|' + this.viewKey(state), () => {
			const report = this.reportOf(state);
			return buildTopDown(report.nodes, this.childrenOf(report), this.groupsOf(state).groups, this.hiddenOf(state),
				this.ownOf(state), null, this.countsOf(state));
		});
	}

	// The view of a state, zoomed into what the state names, or the nearest to it that is there.
	view(state) {
		const { nodes, frames, moved } = this.reportOf(state);
		if (state.inverted) {
			const { groups } = this.groupsOf(state);
			const path = state.zoom.startsWith('i') ?
				state.zoom.slice(1).split('.').map(Number).filter((i) => i < frames.count).map((i) => groups.of[i]) : [];
			return this.views.get('i|' + this.viewKey(state) + '|' + path.join('.'), () => buildInverted(nodes, groups,
				this.hiddenOf(state), this.ownOf(state), path, state.split ? partsOf(nodes) : null, 0,
				this.countsOf(state)));
		}
		const view = this.topDown(state);
		let node = /^\d+$/.test(state.zoom) ? Number(state.zoom) : 0;
		if (moved)
			node = node < moved.length ? moved[node] : 0;
		if (node >= nodes.count)
			node = 0;
		while (node > 0 && view.ofNode[node] < 0)
			node = nodes.parent[node];
		view.focus = nodes.count ? Math.max(0, view.ofNode[node]) : 0;
		return view;
	}

	// What a state must say to be zoomed into v.  Names of nodes are those before recursion was merged.
	zoomText(state, view, v) {
		if (v === 0)
			return '';
		if (view.inverted)
			return 'i' + pathOf(view, v).map((group) => view.groups.frame[group]).join('.');
		return this.zoomOfNode(state, view.entries[view.entryStart[v]]);
	}

	zoomOfNode(state, node) {
		const { origin } = this.reportOf(state);
		return String(origin ? origin[node] : node);
	}

	zoomOfSite(state, site) {
		return this.zoomOfNode(state, this.reportOf(state).sites.node[site]);
	}

	// Of whole stacks: where recursion is merged, what lies between two calls of a function would be missing.
	table(state) {
		const whole = { ...state, recursion: '' };
		return this.tables.get(this.viewKey(whole), () => tabulate(this.topDown(whole)));
	}

	// What a state must say to be zoomed into the heaviest place of a group.
	zoomOfGroup(state, group) {
		const whole = { ...state, recursion: '', inverted: '' };
		return this.zoomText(whole, this.topDown(whole), this.table(whole).largest[group]);
	}

	outermostOf(state) {
		return this.outermost.get([state.group, state.hide, state.split].join('|'), () => {
			const whole = { ...state, recursion: '' };
			const report = this.reportOf(whole);
			return outermostNodes(report, this.childrenOf(report), this.groupsOf(state).groups, this.hiddenOf(whole));
		});
	}

	// All costs of each group, own and inclusive; the chosen metric's are those of `table`.
	groupCosts(state) {
		const whole = { ...state, recursion: '', split: '' };
		return this.byGroup.get([state.group, state.hide, this.filterKey(state)].join('|'), () => groupCosts(this.report,
			this.groupsOf(state).groups, this.hiddenOf(whole), this.outermostOf(whole), this.filter(state)));
	}

	// { callers, callees } of a group.
	around(state, group) {
		const whole = { ...state, recursion: '', split: '' };
		return this.arounds.get(this.viewKey(whole) + '|' + group, () => buildAround(this.report,
			this.childrenOf(this.report), this.groupsOf(state).groups, this.hiddenOf(whole), this.outermostOf(whole),
			this.ownOf(whole), group));
	}

	// All costs of one node of a view.
	costsOf(state, view, v) {
		const key = [view.inverted ? 'i' : 't', this.filterKey(state), this.reportKey(state)].join('|');
		const columns = this.costs.get(key, () => {
			const report = this.reportOf(state);
			const all = [];
			for (let column = 0; column < COSTS; column++) {
				const own = exclusiveCosts(report, column, this.filter(state));
				all.push(view.inverted ? own : inclusiveCosts(report.nodes, own));
			}
			return all;
		});
		return v === 0 ? this.sumOf(state) : costsOf(view, v, columns);
	}

	// Of a sample: { metric: [low, high] }, within which the bytes of one node of a view are, 95 times in 100.  null: all
	// is exact.
	intervalsOf(state, view, v, costs) {
		const { spreads, meta } = this.report;
		if (!spreads)
			return null;
		if (v === 0)
			return this.intervalsOfAll(state);
		const key = [view.inverted ? 'i' : 't', this.filterKey(state), this.reportKey(state)].join('|');
		const columns = this.spreads.get(key, () => spreads.map((spread) => {
			const report = this.reportOf(state);
			const own = exclusiveSums(report, spread, this.filter(state));
			return view.inverted ? own : inclusiveCosts(report.nodes, own);
		}));
		return intervalsFrom(costs, costsOf(view, v, columns), meta);
	}

	// The same of all that is selected.
	intervalsOfAll(state) {
		const { spreads, meta } = this.report;
		if (!spreads)
			return null;
		const sums = this.sums.get('spreads ' + this.filterKey(state), () => sumCosts(
			withCosts(this.report, spreads), this.filter(state)));
		return intervalsFrom(this.sumOf(state), sums, meta);
	}

	// The same of groups: (own costs or all, by group; group, column of bytes) -> [low, high]; null: all is exact.
	groupIntervals(state) {
		const { report } = this;
		if (!report.spreads)
			return null;
		const whole = { ...state, recursion: '', split: '' };
		const costs = this.groupCosts(state);
		const spreads = this.groupSpreads.get([state.group, state.hide, this.filterKey(state)].join('|'), () => groupCosts(
			withCosts(report, report.spreads), this.groupsOf(state).groups, this.hiddenOf(whole), this.outermostOf(whole),
			this.filter(state)));
		return (which, group, column) => interval(costs[which][column][group], spreads[which][column][group],
			spreads[which][column + 1][group], report.meta.sample_means[column / 2]);
	}

	// And of one site.
	siteInterval(site, column) {
		const { sites, spreads, meta } = this.report;
		return spreads ? interval(sites.costs[column][site], spreads[column][site], spreads[column + 1][site],
			meta.sample_means[column / 2]) : null;
	}

	// null, { error }, or { frames, groups, value, count } of what the state's search matches.
	search(state) {
		if (!state.search)
			return null;
		const compiled = compilePattern(state.search);
		if (compiled.error)
			return compiled;
		const matched = this.searches.get(state.search, () => matchFrames(this.report, compiled.regex));
		const groups = matchGroups(this.groupsOf(state).groups, matched);
		return {
			groups, value: matchedValue(this.reportOf(state).nodes, matched, this.ownOf(state)),
			count: groups.reduce((all, one) => all + one, 0),
		};
	}
}
