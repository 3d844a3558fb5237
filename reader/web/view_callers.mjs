// SPDX-License-Identifier: MIT
// Callers and callees of one function: two graphs that meet at it.  Upwards who calls it, downwards what it calls, both
// as wide as what was allocated in it and below it.
import { element } from './dom.mjs';
import { frameKind, frameName, framePlace } from './details.mjs';
import { FlameGraph } from './flame.mjs';
import { drawBelow } from './picture.mjs';
import { formatExactValue, formatShare, formatValue, shorten } from './units.mjs';

// Room for a line of text in a picture.
const BETWEEN = 26;

class CallersView {
	constructor(root, app) {
		this.app = app;
		const head = element('div', 'view-head');
		this.dot = element('span', 'dot');
		this.title = element('strong', 'callers-name');
		this.place = element('span', 'place');
		this.figures = element('span', 'callers-figures');
		head.append(this.dot, this.title, this.place, element('div', 'spread'), this.figures);
		this.hint = element('p', 'muted callers-hint', 'Choose a function in the table, or click a box.');
		this.empty = element('p', 'empty');
		root.append(head);
		this.up = this.buildGraph(root, 'Callers', 'callers-up');
		this.down = this.buildGraph(root, 'Callees', 'callers-down');
		root.append(this.empty, this.hint);
	}

	buildGraph(root, name, className) {
		const { app } = this;
		const part = root.appendChild(element('div', 'callers-part ' + className));
		part.append(element('h3', 'callers-label', name));
		const scroller = part.appendChild(element('div', 'graph-scroller'));
		const spacer = scroller.appendChild(element('div', 'graph-spacer'));
		const canvas = spacer.appendChild(element('canvas', 'graph-canvas'));
		canvas.tabIndex = 0;
		canvas.setAttribute('role', 'application');
		canvas.setAttribute('aria-roledescription', 'flame graph');
		canvas.setAttribute('aria-label', name);
		canvas.setAttribute('aria-describedby', 'spoken');
		const made = { part, canvas, graph: null };
		made.graph = new FlameGraph(scroller, spacer, canvas, {
			onHover: (node, x, y) => this.hover(made.graph, node, x, y),
			onOpen: (node) => app.openGroup(made.graph.view.group[node]),
			onSelect: (node) => app.say(this.describe(made.graph.view, node)),
		});
		return made;
	}

	hover(graph, node, x, y) {
		const { app } = this;
		if (node < 0)
			app.tooltip.hide();
		else
			app.tooltip.show((graph === this.up.graph ? 'up ' : 'down ') + node, x, y, () => this.describe(graph.view, node));
	}

	describe(view, node) {
		const { app } = this;
		const { report, state } = app;
		const value = view.value[node];
		const group = view.group[node];
		return {
			name: shorten(frameName(report, view.groups, group), 300), place:
				shorten(framePlace(report, view.groups, group), 300),
			figures: [['strong', formatValue(value, state.unit)], ['', formatShare(value, view.value[0]) + ' of this function'],
				['muted', formatExactValue(value, state.unit)]],
		};
	}

	update() {
		const { app } = this;
		const { report, model, state } = app;
		const { groups, tones } = model.groupsOf(state);
		const group = app.chosenGroup();
		const { callers, callees } = model.around(state, group);
		const value = callees.value[0];
		this.empty.hidden = value > 0;
		this.empty.textContent = group ? 'Nothing was allocated in this function with these filters.' : app.emptyText();
		for (const { part } of [this.up, this.down])
			part.hidden = value === 0;
		this.dot.className = 'dot k' + frameKind(report, groups, group);
		this.title.textContent = shorten(frameName(report, groups, group), 200);
		this.place.textContent = shorten(framePlace(report, groups, group), 200);
		const column = app.metricColumn();
		const own = model.groupCosts(state).own[column][group];
		this.figures.replaceChildren(element('strong', '', formatValue(value, state.unit)), ' inclusive  ',
			element('strong', '', formatValue(own, state.unit)), ' own');
		this.figures.title = formatExactValue(value, state.unit) + ' inclusive, ' +
			formatExactValue(own, state.unit) + ' own';
		this.figures.dataset.exact = String(value);
		this.up.graph.show({ report, view: callers, tones, shape: 'flame', animate: false });
		this.down.graph.show({ report, view: callees, tones, shape: 'icicle', animate: false });
		const found = model.search(state);
		for (const { graph } of [this.up, this.down])
			graph.setMatched(found && !found.error ? found.groups : null);
	}

	// Callers above, callees below, the function's name between them.
	drawing() {
		const { up: { part, graph: up }, down: { graph: down }, app } = this;
		if (part.hidden)
			return null;
		const [above, below] = [up.drawing(), down.drawing()];
		const { palette } = app;
		const width = Math.max(above.width, below.width);
		const draw = (context) => {
			context.setTransform(1, 0, 0, 1, 0, 0);
			context.fillStyle = palette.paper;
			context.fillRect(0, above.height, width, BETWEEN);
			context.font = '12px system-ui, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif';
			context.fillStyle = palette.text;
			context.textAlign = 'left';
			context.textBaseline = 'middle';
			context.fillText('↑ callers of ' + this.title.textContent + ' (' + this.figures.textContent + '), ↓ callees', 6,
				above.height + BETWEEN / 2);
			above.draw(context);
			drawBelow(context, above.height + BETWEEN, () => below.draw(context));
		};
		return { width, height: above.height + BETWEEN + below.height, draw };
	}

	openRow(row) {
		const { report, model, state } = this.app;
		const { groups } = model.groupsOf(state);
		this.app.openGroup(state.table === 'sites' ? groups.of[report.nodes.frame[report.sites.node[row]]] : row);
	}

	setTheme(palette) {
		this.up.graph.setTheme(palette);
		this.down.graph.setTheme(palette);
	}

	draw() {
		this.up.graph.draw();
		this.down.graph.draw();
	}

	focus() {
		this.down.canvas.focus();
	}
}

export const callersView = {
	name: 'callers',
	title: 'Callers',
	hint: 'who calls a function, and what it calls',
	key: 'C',
	side: ['table'],
	create: (root, app) => new CallersView(root, app),
};
