// SPDX-License-Identifier: MIT
// The flame graph's view: the graph, its direction, the path to where it is zoomed, and what it says when it is empty.
import { FlameGraph } from './flame.mjs';
import { button, byId, choiceButtons, element, legendEntry } from './dom.mjs';
import { frameName } from './details.mjs';
import { withLegend } from './picture.mjs';
import { CATEGORIES, frameCategory } from './palette.mjs';
import { shorten } from './units.mjs';

const CRUMBS_MAX = 5;

const spanText = (share) => String(Number(share.toPrecision(6)));

// The categories of a page's frames, without that of the root.
function frameKinds(frames) {
	const kinds = new Set();
	for (let i = 1; i < frames.count; i++)
		kinds.add(frameCategory(frames.kind[i], frames.flags[i]));
	kinds.delete(0);
	return [...kinds].sort((a, b) => a - b);
}

class FlameView {
	constructor(root, app) {
		this.app = app;
		const head = element('div', 'view-head');
		const shape = element('div', 'segments');
		shape.id = 'shape';
		shape.setAttribute('role', 'radiogroup');
		shape.setAttribute('aria-label', 'Direction');
		this.showShape = choiceButtons(shape, [['icicle', 'Icicle'], ['flame', 'Flame']],
			(value) => app.set({ shape: value }));
		this.inverted = button('toggle', 'Inverted', 'From the allocating functions up to their callers (v)',
			() => app.invert());
		this.inverted.id = 'inverted';
		this.reset = button('toggle', 'Reset zoom', 'Show everything (Esc)', () => app.set({ zoom: '', span: '' }));
		this.reset.id = 'reset';
		this.recursion =
			button('toggle', 'Merge recursion', 'A call of a function that is already on the stack is moved to ' +
			'that earlier call (r)', () => app.cycle('recursion'));
		this.recursion.id = 'recursion';
		head.append(shape, this.inverted, this.recursion, this.splitField(), element('div', 'spread'),
			this.reset);
		this.crumbs = element('nav', 'crumbs');
		this.crumbs.id = 'crumbs';
		this.crumbs.setAttribute('aria-label', 'Zoomed into');
		this.scroller = element('div', 'graph-scroller');
		this.scroller.id = 'graph-scroller';
		const spacer = this.scroller.appendChild(element('div', 'graph-spacer'));
		spacer.id = 'graph-spacer';
		this.canvas = spacer.appendChild(element('canvas', 'graph-canvas'));
		this.canvas.id = 'graph-canvas';
		this.canvas.tabIndex = 0;
		this.canvas.setAttribute('role', 'application');
		this.canvas.setAttribute('aria-roledescription', 'flame graph');
		this.canvas.setAttribute('aria-label', 'Flame graph');
		this.canvas.setAttribute('aria-describedby', 'spoken');
		this.empty = element('p', 'empty');
		this.empty.id = 'graph-empty';
		root.append(head, this.crumbs, this.scroller, this.empty, this.legend());
		this.graph = app.graph = new FlameGraph(this.scroller, spacer, this.canvas, {
			onHover: (node, x, y) => app.hoverNode(node, x, y),
			onOpen: (node) => app.open(node),
			onSelect: (node) => app.speak(node),
			onWindow: ({ left, width }) => app.set({ span: width >= 1 ? '' : spanText(left) + '~' + spanText(width) }, false),
		});
	}

	splitField() {
		const { report } = this.app;
		const field = element('label', 'field', 'Split ');
		this.split = field.appendChild(element('select'));
		this.split.id = 'split';
		const ways = [['', 'no'], ['thread', 'by thread', report.threads.count], ['domain', 'by kind of memory',
			this.app.countedDomains.length], ['process', 'by process', report.meta.captures.length]];
		for (const [value, text, count = 2] of ways) {
			const made = this.split.appendChild(element('option', '', text));
			made.value = value;
			made.hidden = made.disabled = count < 2;
		}
		field.hidden = [...this.split.options].every((made) => made.value === '' || made.disabled);
		this.split.addEventListener('change', () => this.app.set({ split: this.split.value, zoom: '', span: '' }));
		return field;
	}

	drawing() {
		const { graph, app } = this;
		if (this.scroller.hidden)
			return null;
		return withLegend(graph.drawing(), frameKinds(app.report.frames).map((i) =>
			[CATEGORIES[i][app.theme], CATEGORIES[i].label]), app.palette);
	}

	// Only the kinds of frames that this page has.
	legend() {
		const kinds = frameKinds(this.app.report.frames);
		const legend = element('div', 'legend');
		legend.hidden = kinds.length === 0;
		legend.append(...kinds.map((i) => legendEntry('k' + i, CATEGORIES[i].label)));
		return legend;
	}

	update({ animate }) {
		const { app, graph } = this;
		const { state, model, report, tree } = app;
		this.showShape(state.shape);
		this.inverted.setAttribute('aria-pressed', String(state.inverted === '1'));
		this.canvas.setAttribute('aria-label', state.inverted ? 'Callers of what allocates' : 'Flame graph');
		const whole = model.wholeOf(state);
		this.empty.hidden = whole > 0;
		this.empty.textContent = app.emptyText();
		this.scroller.hidden = whole === 0;
		this.updateCrumbs();
		this.recursion.setAttribute('aria-pressed', String(state.recursion === '1'));
		this.split.value = state.split;
		const [left, width] = state.span.split('~').map(Number);
		graph.show({
			report, view: tree, tones: model.groupsOf(state).tones, shape: state.shape, animate,
			span: width > 0 && left >= 0 && left < 1 ? { left, width: Math.min(width, 1 - left) } : null,
		});
		const found = model.search(state);
		graph.setMatched(found && !found.error ? found.groups : null);
		graph.selected = tree.focus;
	}

	updateCrumbs() {
		const { app } = this;
		const { tree, report } = app;
		const path = [];
		for (let v = tree.focus; v > 0; v = tree.parent[v])
			path.push(v);
		path.push(0);
		path.reverse();
		const shown = path.length > CRUMBS_MAX + 1 ? [0, -1, ...path.slice(-CRUMBS_MAX)] : path;
		this.reset.hidden = tree.focus === 0 && !app.state.span;
		this.crumbs.hidden = tree.focus === 0;
		this.crumbs.replaceChildren(...shown.flatMap((v) => {
			if (v < 0)
				return element('span', 'crumb-gap', '… ›');
			const name = shorten(frameName(report, tree.groups, tree.group[v]), 60);
			const crumb = button('', name, '', () => app.open(v));
			if (v === tree.focus)
				crumb.setAttribute('aria-current', 'true');
			return v === tree.focus ? crumb : [crumb, element('span', 'crumb-gap', '›')];
		}));
	}

	setTheme(palette) {
		this.graph.setTheme(palette);
	}

	draw() {
		this.graph.draw();
	}

	focus() {
		byId('graph-canvas').focus();
	}
}

export const flameView = {
	name: 'flame',
	title: 'Flame graph',
	hint: 'all stacks as boxes, as wide as what they allocated',
	key: 'F',
	side: ['table', 'details'],
	fields: {
		shape: { letter: 'o', initial: 'icicle', accepts: ['icicle', 'flame'] },
		// The part of the whole that is seen, where that is no box: from ~ width.
		span: { letter: 'x', initial: '', accepts: /(\d[\d.e-]*~\d[\d.e-]*)?/ },
	},
	create: (root, app) => new FlameView(root, app),
};
