// SPDX-License-Identifier: MIT
// The table over the whole width: every function (or line, or module) with all its costs, or every site of allocation.
import { button, choiceButtons, element } from './dom.mjs';
import { frameKind, frameName, framePlace } from './details.mjs';
import { saveBlob } from './picture.mjs';
import { fillName, fillValue, metricColumns, numberColumn, textColumn, textFilter, threadLabel } from './rows.mjs';
import { Table } from './table.mjs';
import { METRICS, costColumn, siteSelected } from './tree.mjs';
import { formatBytes, formatCount, formatExact } from './units.mjs';

// A field of CSV.  A name that begins like a formula must not become one in a spreadsheet.
export function csvField(value) {
	const text = String(value).replace(/^[=+\-@\t\r]/, "'$&");
	return /[",\n\r]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
}

class TableView {
	constructor(root, app) {
		this.app = app;
		this.filterText = '';
		const head = element('div', 'view-head');
		const kind = element('div', 'segments');
		kind.id = 'rows-kind';
		kind.setAttribute('role', 'radiogroup');
		kind.setAttribute('aria-label', 'Rows');
		this.kind = kind;
		this.showKind = choiceButtons(kind, [['functions', 'Functions'], ['sites', 'Sites']], (table) => app.set({ table }));
		this.filter = element('input', 'filter');
		this.filter.type = 'search';
		this.filter.placeholder = 'Filter rows';
		this.filter.setAttribute('aria-label', 'Filter rows');
		this.filter.spellcheck = false;
		this.filter.addEventListener('input', () => {
			this.filterText = this.filter.value;
			this.update();
		});
		this.count = element('output', 'muted');
		head.append(kind, this.filter, this.count, element('div', 'spread'),
			button('toggle', 'CSV', 'Save the rows, as they are filtered and sorted', () => this.save()));
		const place = element('div');
		place.id = 'rows';
		place.setAttribute('role', 'grid');
		place.setAttribute('aria-label', 'Rows');
		root.append(head, place);
		this.table = new Table(place, { onOpen: (row) => app.openRow(row) });
	}

	update() {
		const { app } = this;
		const { state, model } = app;
		this.showKind(state.table);
		this.kind.firstChild.textContent = { line: 'Lines', function: 'Functions', module: 'Modules' }[state.group];
		const shown = state.table === 'sites' ? this.sites() : this.functions();
		shown.emptyText = this.filterText ? 'No row has these words.' : app.emptyText();
		this.table.show(shown);
		this.count.textContent = formatCount(shown.rows.length) + ' rows';
		this.count.title = formatExact(shown.rows.length) + ' rows';
		this.whole = model.sumOf(state);
	}

	functions() {
		const { report, model, state } = this.app;
		const { groups } = model.groupsOf(state);
		const costs = model.groupCosts(state);
		const whole = model.sumOf(state);
		const accepts = textFilter(this.filterText);
		const name = (group) => frameName(report, groups, group);
		const place = (group) => framePlace(report, groups, group);
		const rows = [];
		for (let group = 0; group < groups.count; group++) {
			if (costs.all[costColumn('total', 'count')][group] > 0 && groups.frame[group] !== 0 &&
					(!this.filterText || accepts(name(group) + ' ' + place(group))))
				rows.push(group);
		}
		const column = costColumn(state.metric, state.unit);
		const intervals = model.groupIntervals(state);
		return {
			name: 'all-functions', rows, room: 240, sort: { key: 'own ' + state.metric, descending: true },
			columns: [
				{
					key: 'name', label: { line: 'Line', function: 'Function', module: 'Module' }[groups.by], className: 'wide',
					value: (group) => name(group).toLowerCase(),
					fill: (cell, group) => fillName(cell, 'k' + frameKind(report, groups, group), name(group), place(group)),
				},
				...metricColumns(report.meta, state, (group, of) => costs.own[of][group], whole,
					(group, of) => intervals?.('own', group, of))
					.map((one) => ({ ...one, key: 'own ' + one.key, label: one.label, title: 'Allocated here itself' })),
				{
					key: 'all', label: 'Inclusive', className: 'number', width: '96px', descending: true,
					title: 'Of what is measured: allocated here and in all that is called from here; recursion counts once',
					value: (group) => costs.all[column][group],
					fill: (cell, group) => fillValue(cell, costs.all[column][group], whole[column], state.unit,
						state.unit === 'bytes' ? intervals?.('all', group, column) : null),
				},
				numberColumn('mean', 'Mean size', '84px', (group) => this.meanOf(costs.own, group), formatBytes,
					'Bytes of an allocation here, on average'),
			],
		};
	}

	meanOf(columns, row) {
		const count = columns[costColumn('total', 'count')][row];
		return count ? Math.round(columns[costColumn('total', 'bytes')][row] / count) : 0;
	}

	sites() {
		const { report, model, state } = this.app;
		const { sites, nodes, meta } = report;
		const { groups } = model.groupsOf(state);
		const accepts = textFilter(this.filterText);
		const selected = model.filter(state);
		const whole = model.sumOf(state);
		const group = (site) => groups.of[nodes.frame[sites.node[site]]];
		const name = (site) => frameName(report, groups, group(site));
		const place = (site) => framePlace(report, groups, group(site));
		const allocator = (site) => meta.allocators[sites.allocator[site]]?.name || '?';
		const thread = (site) => threadLabel(report, sites.thread[site]);
		const words = (site) => [name(site), place(site), allocator(site), thread(site),
			meta.domains[sites.domain[site]]?.name].join(' ');
		const rows = [];
		for (let site = 0; site < sites.count; site++) {
			if (siteSelected(sites, site, selected) && (!this.filterText || accepts(words(site))))
				rows.push(site);
		}
		return {
			name: 'all-sites', rows, room: 240, sort: { key: state.metric, descending: true },
			columns: [
				{
					key: 'name', label: 'Site', className: 'wide', value: (site) => name(site).toLowerCase(),
					fill: (cell, site) => fillName(cell, 'k' + frameKind(report, groups, group(site)), name(site), place(site)),
				},
				{
					key: 'by', label: 'By', className: 'by', width: '104px', value: allocator,
					fill: (cell, site) => fillName(cell, 'd' + sites.domain[site], allocator(site), ''),
				},
				textColumn('thread', 'Thread', '130px', thread),
				...metricColumns(meta, state, (site, of) => sites.costs[of][site], whole,
					(site, of) => model.siteInterval(site, of)),
				numberColumn('mean', 'Mean size', '84px', (site) => this.meanOf(sites.costs, site), formatBytes,
					'Bytes of an allocation here, on average'),
			],
		};
	}

	save() {
		const { report, model, state } = this.app;
		const { groups } = model.groupsOf(state);
		const costs = model.groupCosts(state);
		const site = state.table === 'sites';
		const columns = METRICS.flatMap((metric) => ['bytes', 'count'].map((unit) =>
			[metric + '_' + unit, costColumn(metric, unit)]));
		const lines = [['name', 'file', 'line', 'module', ...(site ? ['thread', 'allocator'] : []),
			...columns.map(([name]) => name)]];
		for (const row of this.table.sorted) {
			const frame = site ? report.nodes.frame[report.sites.node[row]] : groups.frame[row];
			const { strings, frames } = report;
			lines.push([strings[frames.function[frame]], strings[frames.file[frame]], frames.line[frame],
				strings[frames.module[frame]],
				...(site ? [report.threads.tid[report.sites.thread[row]],
					report.meta.allocators[report.sites.allocator[row]]?.name] : []),
				...columns.map(([, column]) => (site ? report.sites.costs : costs.own)[column][row])]);
		}
		const text = lines.map((fields) => fields.map(csvField).join(',') + '\r\n').join('');
		saveBlob(new Blob([text], { type: 'text/csv' }), 'sctmem-' + state.table + '.csv');
	}

	focus() {
		this.table.body.focus();
	}
}

export const tableView = {
	name: 'table',
	title: 'Table',
	hint: 'every function or site with all its costs, to sort and filter',
	key: 'T',
	side: ['details'],
	create: (root, app) => new TableView(root, app),
};
