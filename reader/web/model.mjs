// SPDX-License-Identifier: MIT
// What a state shows, computed and kept: own costs, views, tables.  No part of it knows the document.
import { COSTS } from './data.mjs';
import { buildInverted, buildTopDown, costColumn, costsOf, exclusiveCosts, groupFrames } from './tree.mjs';
import { hiddenNodes, inclusiveCosts, indexChildren, pathOf, sumCosts, tabulate } from './tree.mjs';
import { compilePattern, matchFrames, matchGroups, matchedValue } from './search.mjs';
import { groupTones } from './palette.mjs';

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

export class Model {
	constructor(report) {
		this.report = report;
		this.children = indexChildren(report.nodes);
		// Each view of a million nodes is 60 MB; of a small report many can be kept.
		const limit = Math.max(2, Math.min(12, Math.floor(2e6 / (report.nodes.count + 1))));
		this.own = new Recent(Math.max(4, limit));
		this.costs = new Recent(1);
		this.views = new Recent(limit);
		this.tables = new Recent(limit);
		this.sums = new Recent(64);
		this.groupings = new Recent(3);
		this.hidden = new Recent(4);
		this.searches = new Recent(16);
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
		return thread + '/' + domain;
	}

	ownOf(state) {
		const column = costColumn(state.metric, state.unit);
		return this.own.get(column + '/' + this.filterKey(state),
			() => exclusiveCosts(this.report, column, this.filter(state)));
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

	hiddenOf(state) {
		return this.hidden.get(state.hide, () => hiddenNodes(this.report, state.hide));
	}

	viewKey(state) {
		return [state.metric, state.unit, this.filterKey(state), state.group, state.hide].join('|');
	}

	topDown(state) {
		return this.views.get('t|' + this.viewKey(state), () => buildTopDown(this.report.nodes, this.children,
			this.groupsOf(state).groups, this.hiddenOf(state), this.ownOf(state)));
	}

	// The view of a state, zoomed into what the state names, or the nearest to it that is there.
	view(state) {
		const { nodes, frames } = this.report;
		if (state.inverted) {
			const { groups } = this.groupsOf(state);
			const path = state.zoom.startsWith('i') ?
				state.zoom.slice(1).split('.').map(Number).filter((i) => i < frames.count).map((i) => groups.of[i]) : [];
			return this.views.get('i|' + this.viewKey(state) + '|' + path.join('.'), () => buildInverted(nodes, groups,
				this.hiddenOf(state), this.ownOf(state), path));
		}
		const view = this.topDown(state);
		let node = /^\d+$/.test(state.zoom) && Number(state.zoom) < nodes.count ? Number(state.zoom) : 0;
		while (node > 0 && view.ofNode[node] < 0)
			node = nodes.parent[node];
		view.focus = nodes.count ? Math.max(0, view.ofNode[node]) : 0;
		return view;
	}

	// What a state must say to be zoomed into v.
	zoomText(view, v) {
		if (v === 0)
			return '';
		return view.inverted ? 'i' + pathOf(view, v).map((group) => view.groups.frame[group]).join('.') :
			String(view.entries[view.entryStart[v]]);
	}

	table(state) {
		return this.tables.get(this.viewKey(state), () => tabulate(this.topDown(state)));
	}

	// All costs of one node of a view.
	costsOf(state, view, v) {
		const columns = this.costs.get((view.inverted ? 'i' : 't') + this.filterKey(state), () => {
			const all = [];
			for (let column = 0; column < COSTS; column++) {
				const own = exclusiveCosts(this.report, column, this.filter(state));
				all.push(view.inverted ? own : inclusiveCosts(this.report.nodes, own));
			}
			return all;
		});
		return v === 0 ? this.sumOf(state) : costsOf(view, v, columns);
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
			groups, value: matchedValue(this.report.nodes, matched, this.ownOf(state)),
			count: groups.reduce((all, one) => all + one, 0),
		};
	}
}
