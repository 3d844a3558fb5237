// SPDX-License-Identifier: MIT
// The sunburst: the flame graph's tree around a centre, which is what it is zoomed into.
import { element } from './dom.mjs';
import { frameLabel } from './flame.mjs';
import { nodeAt } from './layout.mjs';
import { formatShare, formatValue, shorten } from './units.mjs';

const RINGS = 9;
// What covers less of its ring is seen when it is zoomed into.
const RING_SHARE = 0.04;
const TURN = 2 * Math.PI;
// A thinner slice than this is half a pixel wide on the outermost ring.
const SLICE_PIXELS = 0.7;

// Calls slice(node, ring, from, to) for each node that is wide enough to be seen; angles are parts of a turn.
export function layoutSunburst(view, rings, least, slice) {
	const { focus } = view;
	const whole = view.value[focus];
	if (!(whole > 0))
		return;
	const pending = [focus];
	while (pending.length) {
		const node = pending.pop();
		const ring = view.depth[node] - view.depth[focus];
		const from = (view.x[node] - view.x[focus]) / whole;
		const to = from + view.value[node] / whole;
		slice(node, ring, from, to);
		if (ring + 1 > rings)
			continue;
		for (let child = view.childStart[node]; child < view.childEnd[node] && view.value[child] / whole >= least; child++)
			pending.push(child);
	}
}

class SunburstView {
	constructor(root, app) {
		this.app = app;
		this.hovered = -1;
		const head = element('div', 'view-head');
		head.append(element('span', 'muted', 'Click a slice to zoom in, the centre to go back.'));
		this.frame = element('div', 'sunburst-frame');
		this.canvas = this.frame.appendChild(element('canvas'));
		this.canvas.tabIndex = 0;
		this.canvas.setAttribute('role', 'application');
		this.canvas.setAttribute('aria-roledescription', 'sunburst');
		this.canvas.setAttribute('aria-label', 'Sunburst');
		this.canvas.setAttribute('aria-describedby', 'spoken');
		this.empty = element('p', 'empty');
		root.append(head, this.frame, this.empty);
		this.context = this.canvas.getContext('2d', { alpha: false });
		this.canvas.addEventListener('pointermove', (event) => this.hover(this.nodeUnder(event), event));
		this.canvas.addEventListener('pointerleave', (event) => this.hover(-1, event));
		this.canvas.addEventListener('click', (event) => this.open(this.nodeUnder(event)));
		this.canvas.addEventListener('keydown', (event) => this.key(event));
		new ResizeObserver(() => this.draw()).observe(this.frame);
	}

	update() {
		const { app } = this;
		const whole = app.model.wholeOf(app.state);
		this.tree = app.tree;
		this.selected = this.tree.focus;
		this.empty.hidden = whole > 0;
		this.empty.textContent = app.emptyText();
		this.frame.hidden = whole === 0;
		const found = app.model.search(app.state);
		this.matched = found && !found.error ? found.groups : null;
		this.tones = app.model.groupsOf(app.state).tones;
		this.draw();
	}

	setTheme(palette) {
		this.palette = palette;
		this.draw();
	}

	focus() {
		this.canvas.focus();
	}

	draw() {
		if (!this.palette || !this.tree || this.frame.hidden)
			return;
		const ratio = devicePixelRatio || 1;
		const { clientWidth, clientHeight } = this.frame;
		this.canvas.style.width = clientWidth + 'px';
		this.canvas.style.height = clientHeight + 'px';
		if (this.canvas.width !== Math.round(clientWidth * ratio) || this.canvas.height !==
			Math.round(clientHeight * ratio)) {
			this.canvas.width = Math.round(clientWidth * ratio);
			this.canvas.height = Math.round(clientHeight * ratio);
		}
		this.paint(this.context, clientWidth, clientHeight, ratio);
	}

	drawing() {
		if (this.frame.hidden)
			return null;
		const size = Math.max(600, Math.min(this.frame.clientWidth, this.frame.clientHeight));
		return { width: size, height: size, draw: (context) => {
			// The picture has its own place; that of what is shown is where the pointer looks.
			const { place } = this;
			this.paint(context, size, size, 1);
			this.place = place;
		} };
	}

	measures(width, height) {
		const radius = Math.max(40, Math.min(width, height) / 2 - 8);
		// As many rings as have something to show, so that a shallow tree is not a dot in the middle.
		const covered = new Array(RINGS + 1).fill(0);
		layoutSunburst(this.tree, RINGS, SLICE_PIXELS / (TURN * radius), (node, ring, from, to) => {
			covered[ring] += to - from;
		});
		const rings = Math.max(1, covered.findLastIndex((share) => share >= RING_SHARE));
		const core = radius * (rings < 3 ? 0.34 : 0.2);
		return { x: width / 2, y: height / 2, radius, rings, core, ring: (radius - core) / rings };
	}

	paint(context, width, height, ratio) {
		const { palette, tree, matched, tones } = this;
		const place = this.place = this.measures(width, height);
		context.setTransform(ratio, 0, 0, ratio, 0, 0);
		context.fillStyle = palette.paper;
		context.fillRect(0, 0, width, height);
		context.font = '11px system-ui, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif';
		context.lineWidth = 1;
		context.strokeStyle = palette.paper;
		const labels = [];
		layoutSunburst(tree, place.rings, SLICE_PIXELS / (TURN * place.radius), (node, ring, from, to) => {
			if (ring === 0)
				return;
			const inner = place.core + (ring - 1) * place.ring;
			const faded = matched && !matched[tree.group[node]];
			this.tracePart(context, place, inner, inner + place.ring, from, to);
			context.fillStyle = (faded ? palette.faded : palette.fill)[tones[tree.group[node]]];
			context.fill();
			if ((to - from) * TURN * inner > 2.5)
				context.stroke();
			if (node === this.hovered || (node === this.selected && node !== tree.focus))
				labels.unshift({ outline: true, inner, from, to });
			if ((to - from) * TURN * (inner + place.ring / 2) > 14)
				labels.push({ node, inner, from, to, faded });
		});
		for (const label of labels.filter((one) => one.outline)) {
			this.tracePart(context, place, label.inner, label.inner + place.ring, label.from, label.to);
			context.strokeStyle = palette.focus;
			context.stroke();
		}
		this.paintLabels(context, place, labels.filter((one) => !one.outline), ratio);
		this.paintCore(context, place);
	}

	tracePart(context, { x, y }, inner, outer, from, to) {
		const [start, end] = [from * TURN - TURN / 4, to * TURN - TURN / 4];
		context.beginPath();
		context.arc(x, y, outer, start, end);
		context.arc(x, y, inner, end, start, true);
		context.closePath();
	}

	// Along the slice where it is longer than the ring is deep, else from the centre outwards; never upside down.
	paintLabels(context, place, labels, ratio) {
		const { palette, tree, app } = this;
		context.textAlign = 'center';
		context.textBaseline = 'middle';
		for (const { node, inner, from, to, faded } of labels) {
			const radius = inner + place.ring / 2;
			const middle = ((from + to) / 2) * TURN - TURN / 4;
			// The chord that fits between the ring's edges.
			const arc = Math.min((to - from) * TURN * radius, 2 * Math.sqrt(place.ring * radius * 0.6));
			const along = arc > place.ring;
			const room = (along ? arc : place.ring) - 8;
			if ((along ? place.ring : arc) < 12 || room < 22)
				continue;
			const [name] = frameLabel(app.report, tree.groups, tree.group[node]);
			const width = context.measureText(name).width;
			const length = Math.floor(name.length * room / Math.max(width, 1));
			const text = width <= room ? name : length > 3 ? name.slice(0, length - 1) + '…' : '';
			if (!text)
				continue;
			let angle = middle + (along ? TURN / 4 : 0);
			if (Math.cos(angle) < 0)
				angle += TURN / 2;
			const [cos, sin] = [Math.cos(angle) * ratio, Math.sin(angle) * ratio];
			context.setTransform(cos, sin, -sin, cos, (place.x + radius * Math.cos(middle)) * ratio,
				(place.y + radius * Math.sin(middle)) * ratio);
			context.fillStyle = faded ? palette.textFaded : palette.text;
			context.fillText(text, 0, 0);
		}
		context.setTransform(ratio, 0, 0, ratio, 0, 0);
	}

	paintCore(context, place) {
		const { palette, tree, app } = this;
		context.beginPath();
		context.arc(place.x, place.y, place.core - 2, 0, TURN);
		context.fillStyle = palette.fill[this.tones[tree.group[tree.focus]]];
		context.fill();
		context.fillStyle = palette.text;
		const [name] = frameLabel(app.report, tree.groups, tree.group[tree.focus]);
		const lines = [shorten(name, Math.max(6, Math.floor(place.core / 4))),
			formatValue(tree.value[tree.focus], app.state.unit),
			formatShare(tree.value[tree.focus], app.model.wholeOf(app.state))];
		lines.forEach((text, i) => context.fillText(text, place.x, place.y + (i - 1) * 15));
		context.textAlign = 'left';
	}

	nodeUnder(event) {
		if (!this.place)
			return -1;
		const box = this.canvas.getBoundingClientRect();
		const { tree, place } = this;
		const [x, y] = [event.clientX - box.left - place.x, event.clientY - box.top - place.y];
		const distance = Math.hypot(x, y);
		if (distance < place.core)
			return tree.focus;
		const ring = Math.floor((distance - place.core) / place.ring) + 1;
		if (ring > place.rings)
			return -1;
		const turn = (Math.atan2(y, x) / TURN + 1.25) % 1;
		return nodeAt(tree, tree.depth[tree.focus] + ring, tree.x[tree.focus] + turn * tree.value[tree.focus]);
	}

	hover(node, event) {
		if (node !== this.hovered) {
			this.hovered = node;
			this.draw();
		}
		this.canvas.style.cursor = node >= 0 ? 'pointer' : 'default';
		this.app.hoverNode(node, event.clientX, event.clientY);
	}

	open(node) {
		if (node >= 0)
			this.app.open(node === this.tree.focus ? Math.max(0, this.tree.parent[node]) : node);
	}

	// Outwards, inwards, around.
	key(event) {
		const { tree } = this;
		const node = this.selected;
		const siblings = node > tree.focus ? [tree.childStart[tree.parent[node]],
			tree.childEnd[tree.parent[node]]] : [node, node + 1];
		const next = {
			ArrowUp: tree.childEnd[node] > tree.childStart[node] ? tree.childStart[node] : node,
			ArrowDown: node === tree.focus ? node : tree.parent[node],
			ArrowLeft: Math.max(siblings[0], node - 1), ArrowRight: Math.min(siblings[1] - 1, node + 1),
		}[event.key];
		if (event.key === 'Enter') {
			event.preventDefault();
			this.open(node);
		} else if (next !== undefined) {
			event.preventDefault();
			this.selected = next;
			this.draw();
			this.app.speak(next);
		}
	}
}

export const sunburstView = {
	name: 'sunburst',
	title: 'Sunburst',
	hint: 'the flame graph around a centre',
	key: 'B',
	side: ['table', 'details'],
	create: (root, app) => new SunburstView(root, app),
};
