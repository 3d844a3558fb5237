// SPDX-License-Identifier: MIT
// The panels beside a view: the table of functions or sites, and the details of one frame.
import { byId, choiceButtons } from './dom.mjs';
import { showDetails } from './details.mjs';
import { Table } from './table.mjs';
import { functionTable, siteTable } from './rows.mjs';
import { formatCount, formatExact } from './units.mjs';

export class Side {
	constructor(app) {
		this.app = app;
		this.filterText = '';
		this.shown = -1;
		this.table = new Table(byId('table'), { onOpen: (row) => app.openRow(row) });
		this.showKind = choiceButtons(byId('table-kind'), [['functions', 'Functions'], ['sites', 'Sites']],
			(table) => app.set({ table }, false));
		byId('filter').addEventListener('input', () => {
			this.filterText = byId('filter').value;
			this.updateTable();
		});
	}

	// panels: those that the current view wants.
	update(panels) {
		this.panels = panels;
		byId('side').hidden = panels.length === 0;
		byId('table-card').hidden = !panels.includes('table');
		byId('details-card').hidden = !panels.includes('details');
		byId('panes').classList.toggle('alone', panels.length === 0);
		if (panels.includes('table'))
			this.updateTable();
		if (panels.includes('details'))
			this.details(this.app.tree.focus);
	}

	updateTable() {
		const { model, state, report } = this.app;
		const { groups } = model.groupsOf(state);
		this.showKind(state.table);
		byId('table-kind').firstChild.textContent = { line: 'Lines', function: 'Functions', module: 'Modules' }[state.group];
		const common = { report, groups, whole: model.wholeOf(state), state, filter: this.filterText };
		const shown = state.table === 'sites' ? siteTable({ ...common, siteFilter: model.filter(state),
			interval: (site, column) => model.siteInterval(site, column) }) :
			functionTable({ ...common, table: model.table(state), intervals: model.groupIntervals(state) });
		shown.emptyText = this.filterText ? 'No row has these words.' : 'No rows.';
		this.table.show(shown);
		byId('filter-count').textContent = formatCount(shown.rows.length);
		byId('filter-count').title = formatExact(shown.rows.length) + ' rows';
	}

	// From a frame to what other views say about it.
	links(node) {
		const { app } = this;
		const { tree, report, state } = app;
		const frame = tree.groups.frame[tree.group[node]];
		if (!frame || tree.groups.isPart[tree.group[node]])
			return [];
		const links = [['Callers and callees', () => app.set({ view: 'callers', fn: String(frame) })]];
		if (state.view !== 'flame')
			links.unshift(['Flame graph', () => app.set({ view: 'flame', zoom: app.model.zoomText(state, tree, node) })]);
		if (report.frames.line[frame] && app.views.some(({ name }) => name === 'source'))
			links.push(['Source', () => app.set({ view: 'source', file: String(report.frames.file[frame]) })]);
		return links;
	}

	// node: of the tree.
	details(node) {
		const { app } = this;
		this.shown = node;
		if (!this.panels.includes('details'))
			return;
		const costs = app.model.costsOf(app.state, app.tree, node);
		showDetails(byId('details'), {
			report: app.report, view: app.tree, v: node, costs,
			intervals: app.model.intervalsOf(app.state, app.tree, node, costs),
			whole: app.model.sumOf(app.state), state: app.state, open: (target) => app.open(target), links: this.links(node),
		});
	}
}
