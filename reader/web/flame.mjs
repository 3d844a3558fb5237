// SPDX-License-Identifier: MIT
// The flame graph: one canvas as large as what can be seen, above a spacer that gives the scroll bar its range.
// It draws what layout.mjs finds, and says what is hovered, chosen and clicked; it decides nothing.
//
// What is seen is a window { left, width } of the view's measure.  A click puts it on a node; the wheel with Ctrl, two
// fingers and + and - narrow and widen it around a point, dragging and Shift with arrows or wheel move it.
import { KIND_PART } from './data.mjs';
import { ROW_HEIGHT, isAncestor, layoutLevel, levelsWithin, nodeAt } from './layout.mjs';
import { baseName, shorten, visibleText } from './units.mjs';

const TEXT_MIN_WIDTH = 26;
const PADDING = 5;
const ZOOM_MS = 180;
const LABEL_LENGTH = 240;
const DRAG_PIXELS = 4;
const SETTLE_MS = 200;
const WHEEL_STEP = 0.0022;
const KEY_STEP = 1.6;

// Texts cut to a width.  Measuring is the slowest part of drawing text, so widths of characters are kept.
class TextFitter {
	constructor() {
		this.widths = new Map();
		this.font = '';
	}

	use(context, font) {
		if (font !== this.font) {
			this.font = font;
			this.widths.clear();
		}
		context.font = font;
		this.context = context;
	}

	width(text) {
		let width = this.widths.get(text);
		if (width === undefined) {
			width = this.context.measureText(text).width;
			if (this.widths.size > 20000)
				this.widths.clear();
			this.widths.set(text, width);
		}
		return width;
	}

	fit(text, room) {
		const full = this.width(text);
		if (full <= room)
			return text;
		// Fonts here are nearly even in width: a good guess, then one correction.
		let length = Math.floor(text.length * (room - this.width('…')) / full);
		if (length < 2)
			return '';
		while (length > 1 && this.context.measureText(text.slice(0, length) + '…').width > room)
			length--;
		return length < 2 ? '' : text.slice(0, length) + '…';
	}
}

export function frameLabel(report, groups, group) {
	const frame = groups.frame[group];
	if (frame === 0)
		return ['all', ''];
	const { strings, frames } = report;
	const file = visibleText(baseName(shorten(strings[frames.file[frame]], LABEL_LENGTH)));
	const module = visibleText(baseName(shorten(strings[frames.module[frame]], LABEL_LENGTH)));
	const line = groups.by === 'line' && frames.line[frame] ? ':' + frames.line[frame] : '';
	if (groups.by === 'module' && frames.kind[frame] !== KIND_PART)
		return [module || file || '?', ''];
	const name = visibleText(shorten(strings[frames.function[frame]], LABEL_LENGTH)) || '?';
	// A frame without symbol is called module+0x...: once is enough.
	return [name, file ? file + line : name.startsWith(module) ? '' : module];
}

export class FlameGraph {
	// events: onHover(node or -1, x, y), onOpen(node), onSelect(node), onWindow(null or { left, width } in parts of the
	// whole): null when the window is that of a node again
	constructor(scroller, spacer, canvas, events) {
		Object.assign(this, { scroller, spacer, canvas, events });
		this.context = canvas.getContext('2d', { alpha: false });
		this.fitter = new TextFitter();
		this.labels = new Map();
		this.hovered = -1;
		this.selected = -1;
		this.window = { left: 0, width: 1 };
		this.scheduled = false;
		this.matched = null;
		this.shape = 'icicle';
		scroller.addEventListener('scroll', () => this.schedule(), { passive: true });
		this.fingers = new Map();
		canvas.addEventListener('pointerdown', (event) => this.press(event));
		canvas.addEventListener('pointermove', (event) => this.point(event));
		canvas.addEventListener('pointerup', (event) => this.release(event));
		canvas.addEventListener('pointercancel', (event) => this.release(event));
		canvas.addEventListener('pointerleave', () => this.hover(-1, 0, 0));
		canvas.addEventListener('wheel', (event) => this.wheel(event), { passive: false });
		canvas.addEventListener('click', (event) => this.click(event));
		canvas.addEventListener('keydown', (event) => this.key(event));
		canvas.addEventListener('focus', () => this.schedule());
		canvas.addEventListener('blur', () => this.schedule());
		new ResizeObserver(() => this.resize()).observe(scroller);
	}

	// What is shown: the view, the colours of its groups, and in which node it is zoomed.
	// shades: null, or (node) => the colour of that node instead.
	// span: null, or the window as onWindow told it.
	show({ report, view, tones, shape, animate, span = null, shades = null }) {
		const sameView = this.view === view;
		if (this.groups !== view.groups)
			this.labels.clear();
		const shapeChanged = this.shape !== shape;
		Object.assign(this, { report, view, tones, shape, shades, groups: view.groups });
		if (!sameView) {
			this.hovered = -1;
			this.selected = view.focus;
		}
		this.zoomTo(view.focus, animate && sameView && !shapeChanged);
		if (span)
			this.setWindow(span.left * view.value[0], span.width * view.value[0], false);
	}

	setTheme(palette) {
		this.palette = palette;
		this.schedule();
	}

	// matched: 1 for each group that the search found, or null.
	setMatched(matched) {
		this.matched = matched;
		this.schedule();
	}

	select(node) {
		this.selected = node;
		this.reveal(node);
		this.schedule();
	}

	zoomTo(node, animate) {
		const { view } = this;
		const target = { left: view.x[node], width: Math.max(view.value[node], 1) };
		const start = this.window;
		clearTimeout(this.settleTimer);
		this.view.focus = node;
		this.resize();
		this.reveal(node, true);
		const began = performance.now();
		const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
		this.animation = animate && !still ? (now) => {
			const t = Math.min(1, (now - began) / ZOOM_MS);
			const ease = 1 - (1 - t) ** 3;
			this.window = {
				left: start.left + (target.left - start.left) * ease,
				width: start.width + (target.width - start.width) * ease,
			};
			return t < 1;
		} : null;
		if (!this.animation)
			this.window = target;
		this.target = target;
		this.resize();
		this.schedule();
	}

	get whole() {
		return Math.max(this.view.value[0], 1);
	}

	// Moves the window, within the whole; told to the page once it rests.
	setWindow(left, width, tell = true) {
		this.animation = null;
		const least = Math.min(this.whole, Math.max(this.whole * 1e-7, 1));
		width = Math.min(Math.max(width, least), this.whole);
		this.window = this.target = { left: Math.min(Math.max(left, 0), this.whole - width), width };
		this.schedule();
		clearTimeout(this.settleTimer);
		if (!tell) {
			this.resize();
			return;
		}
		this.settleTimer = setTimeout(() => {
			this.resize();
			this.events.onWindow?.({ left: this.window.left / this.whole, width: this.window.width / this.whole });
		}, SETTLE_MS);
	}

	// x: the pixel that stays where it is; by: more than 1 shows less.
	zoomAround(x, by) {
		const { left, width } = this.window;
		const share = x / this.width;
		this.setWindow(left + width * share - width / by * share, width / by);
	}

	pan(pixels) {
		this.setWindow(this.window.left + pixels / this.width * this.window.width, this.window.width);
	}

	get rows() {
		return this.view ? levelsWithin(this.view, this.target ?? this.window, this.width || 1) : 0;
	}

	resize() {
		if (!this.view)
			return;
		const ratio = devicePixelRatio || 1;
		// What stands on the bottom stays there.
		const stands = this.shape === 'flame' && this.scroller.scrollTop + (this.height || 0) >= this.spacer.clientHeight - 2;
		this.width = this.scroller.clientWidth;
		this.height = this.scroller.clientHeight;
		this.rowCount = this.rows;
		const wanted = this.rowCount * ROW_HEIGHT + 2;
		this.spacer.style.height = Math.max(wanted, this.height) + 'px';
		if (stands)
			this.scroller.scrollTop = Math.max(wanted, this.height);
		this.canvas.style.width = this.width + 'px';
		this.canvas.style.height = this.height + 'px';
		const [width, height] = [Math.round(this.width * ratio), Math.round(this.height * ratio)];
		if (this.canvas.width !== width || this.canvas.height !== height) {
			this.canvas.width = width;
			this.canvas.height = height;
			// Setting its size empties a canvas: drawn at once, or it would be seen empty.
			this.draw();
		}
		this.schedule();
	}

	// The top of a level's row on the canvas.
	rowTop(level) {
		if (this.shape === 'icicle')
			return level * ROW_HEIGHT - this.scroller.scrollTop;
		const base = Math.max(this.rowCount * ROW_HEIGHT, this.height - 2);
		return base - (level + 1) * ROW_HEIGHT - this.scroller.scrollTop;
	}

	levelAt(y) {
		if (this.shape === 'icicle')
			return Math.floor((y + this.scroller.scrollTop) / ROW_HEIGHT);
		const base = Math.max(this.rowCount * ROW_HEIGHT, this.height - 2);
		return Math.floor((base - y - this.scroller.scrollTop) / ROW_HEIGHT);
	}

	// Scrolls so that a node's row is seen; `context`: with its callers and what it calls, where there is room.
	reveal(node, context = false) {
		if (!this.view || node < 0)
			return;
		const top = this.rowTop(this.view.depth[node]);
		const room = context ? Math.min(4 * ROW_HEIGHT, this.height / 3) : 0;
		const flame = this.shape === 'flame';
		if (context && flame && node === 0)
			this.scroller.scrollTop = this.spacer.clientHeight;
		else if (top < (flame ? 0 : room))
			this.scroller.scrollTop += top - room;
		else if (top + ROW_HEIGHT > this.height - (flame ? room : 0))
			this.scroller.scrollTop += top + ROW_HEIGHT - this.height + room;
	}

	schedule() {
		if (this.scheduled)
			return;
		this.scheduled = true;
		requestAnimationFrame((now) => {
			this.scheduled = false;
			if (this.animation && !this.animation(now))
				this.animation = null;
			this.draw();
			if (this.animation)
				this.schedule();
		});
	}

	draw(ratio = devicePixelRatio || 1) {
		if (!this.view || !this.palette)
			return;
		const began = performance.now();
		const { context, palette } = this;
		context.setTransform(ratio, 0, 0, ratio, 0, 0);
		context.fillStyle = palette.paper;
		context.fillRect(0, 0, this.width, this.height);
		context.textBaseline = 'middle';
		this.fitter.use(context, '12px system-ui, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif');
		const texts = [];
		const levels = this.view.levels.length - 1;
		const [first, last] = [this.levelAt(0), this.levelAt(this.height)].sort((a, b) => a - b);
		for (let level = Math.max(0, first); level <= Math.min(levels - 1, last); level++)
			this.drawLevel(level, texts);
		this.drawTexts(texts);
		this.outline(this.selected, palette.focus, document.activeElement === this.canvas ? 2 : 1.5);
		if (this.hovered !== this.selected)
			this.outline(this.hovered, palette.focus, 1);
		this.drawMs = performance.now() - began;
	}

	drawLevel(level, texts) {
		const { context, palette, view, matched } = this;
		const top = this.rowTop(level);
		const above = level < view.depth[view.focus];
		let colour = '';
		const fill = (wanted) => {
			if (wanted !== colour)
				context.fillStyle = colour = wanted;
		};
		layoutLevel(view, level, this.window, this.width, (node, start, size) => {
			const left = Math.max(start, 0);
			const width = Math.min(start + size, this.width) - left;
			const group = view.group[node];
			const faded = above || (matched && !matched[group]);
			fill(this.shades ? this.shades(node, faded) : (faded ? palette.faded : palette.fill)[this.tones[group]]);
			// A hair of paper between boxes, where a box is wide enough to spare it.
			context.fillRect(left, top, width > 2.5 ? width - 1 : width, ROW_HEIGHT - 1);
			if (matched && matched[group] && width >= 2) {
				fill(palette.match);
				context.fillRect(left, top + ROW_HEIGHT - 4, width > 2.5 ? width - 1 : width, 3);
			}
			if (width >= TEXT_MIN_WIDTH)
				texts.push({ group, left, width, top, faded });
		}, (left, width) => {
			fill(palette.grid);
			context.fillRect(left, top + 2, width, ROW_HEIGHT - 5);
		});
	}

	label(group) {
		let label = this.labels.get(group);
		if (!label) {
			label = frameLabel(this.report, this.groups, group);
			this.labels.set(group, label);
		}
		return label;
	}

	drawTexts(texts) {
		const { context, palette, fitter } = this;
		for (const { group, left, width, top, faded } of texts) {
			const [name, place] = this.label(group);
			const room = width - 2 * PADDING;
			const text = fitter.fit(name, room);
			if (!text)
				continue;
			const y = top + (ROW_HEIGHT - 1) / 2 + 0.5;
			context.fillStyle = faded ? palette.textFaded : palette.text;
			context.fillText(text, left + PADDING, y);
			if (!place || text !== name)
				continue;
			const used = fitter.width(name) + 8;
			const rest = room - used > 30 ? fitter.fit(place, room - used) : '';
			if (rest) {
				context.fillStyle = faded ? palette.textFaded : palette.textSoft;
				context.fillText(rest, left + PADDING + used, y);
			}
		}
	}

	outline(node, colour, thickness) {
		if (node < 0 || node >= this.view.count)
			return;
		const { context, view, window } = this;
		const scale = this.width / window.width;
		const left = Math.max(0, (view.x[node] - window.left) * scale);
		const right = Math.min(this.width, (view.x[node] + view.value[node] - window.left) * scale);
		if (right < 0 || left > this.width)
			return;
		context.strokeStyle = colour;
		context.lineWidth = thickness;
		const inset = thickness / 2;
		context.strokeRect(left + inset, this.rowTop(view.depth[node]) + inset,
			Math.max(right - left - 1 - thickness, 1), ROW_HEIGHT - 1 - thickness);
	}

	nodeUnder(event) {
		const box = this.canvas.getBoundingClientRect();
		const x = event.clientX - box.left;
		if (!this.view || x < 0 || x > this.width)
			return -1;
		const node = nodeAt(this.view, this.levelAt(event.clientY - box.top),
			this.window.left + x / this.width * this.window.width);
		return node >= 0 && this.view.value[node] / this.window.width * this.width >= 0.5 ? node : -1;
	}

	// A whole picture of what the window shows, with rows that are scrolled away; context: of a canvas, or svg.mjs's.
	picture(context) {
		const copy = Object.create(this);
		Object.assign(copy, { context, scroller: { scrollTop: 0 }, height: this.pictureHeight, hovered: -1, selected: -1 });
		copy.draw(1);
	}

	drawing() {
		return { width: this.width, height: this.pictureHeight, draw: (context) => this.picture(context) };
	}

	get pictureHeight() {
		return this.rowCount * ROW_HEIGHT + 2;
	}

	press(event) {
		this.fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
		this.dragged = this.fingers.size > 1;
		this.start = { x: event.clientX, y: event.clientY };
	}

	release(event) {
		this.fingers.delete(event.pointerId);
		if (this.dragged)
			this.canvas.style.cursor = 'default';
	}

	// One finger or the mouse moves the window, two fingers also narrow it.
	drag(event) {
		const finger = this.fingers.get(event.pointerId);
		const others = [...this.fingers.values()].filter((other) => other !== finger);
		const left = this.canvas.getBoundingClientRect().left;
		if (others.length) {
			const before = Math.max(Math.abs(finger.x - others[0].x), 8);
			const after = Math.max(Math.abs(event.clientX - others[0].x), 8);
			this.zoomAround(others[0].x - left, after / before);
		} else if (this.dragged || Math.abs(event.clientX - this.start.x) + Math.abs(event.clientY - this.start.y) >
				DRAG_PIXELS) {
			if (!this.dragged)
				this.canvas.setPointerCapture(event.pointerId);
			this.dragged = true;
			this.pan(finger.x - event.clientX);
			if (event.pointerType === 'mouse')
				this.scroller.scrollTop += finger.y - event.clientY;
		}
		finger.x = event.clientX;
		finger.y = event.clientY;
	}

	wheel(event) {
		const scale = event.deltaMode === 1 ? 16 : 1;
		const sideways = event.shiftKey ? event.deltaX || event.deltaY : event.deltaX;
		if (event.ctrlKey || event.metaKey) {
			const left = this.canvas.getBoundingClientRect().left;
			this.zoomAround(event.clientX - left, Math.exp(-event.deltaY * scale * WHEEL_STEP));
		} else if (Math.abs(sideways) > Math.abs(event.shiftKey ? 0 : event.deltaY)) {
			this.pan(sideways * scale);
		} else {
			return;
		}
		event.preventDefault();
	}

	point(event) {
		if (this.fingers.has(event.pointerId)) {
			this.drag(event);
			if (this.dragged) {
				this.canvas.style.cursor = 'grabbing';
				this.hover(-1, 0, 0);
				return;
			}
		}
		const node = this.nodeUnder(event);
		this.canvas.style.cursor = node >= 0 ? 'pointer' : 'default';
		this.hover(node, event.clientX, event.clientY);
	}

	hover(node, x, y) {
		if (node !== this.hovered) {
			this.hovered = node;
			this.schedule();
		}
		this.events.onHover(node, x, y);
	}

	click(event) {
		const node = this.nodeUnder(event);
		if (node < 0 || this.dragged)
			return;
		this.selected = node;
		this.events.onSelect(node);
		this.events.onOpen(node);
	}

	// Arrows walk the tree, as it lies on the screen.
	key(event) {
		if (!this.view || event.ctrlKey || event.metaKey || event.altKey)
			return;
		const node = this.selected < 0 ? this.view.focus : this.selected;
		const deeper = this.shape === 'icicle' ? 'ArrowDown' : 'ArrowUp';
		const higher = this.shape === 'icicle' ? 'ArrowUp' : 'ArrowDown';
		let next = -1;
		if (event.shiftKey && (event.key === 'ArrowLeft' || event.key === 'ArrowRight')) {
			event.preventDefault();
			this.pan(this.width / (event.key === 'ArrowLeft' ? -8 : 8));
		} else if (event.key === '+' || event.key === '=' || event.key === '-') {
			event.preventDefault();
			const middle = (this.view.x[node] + this.view.value[node] / 2 - this.window.left) / this.window.width * this.width;
			this.zoomAround(Math.min(Math.max(middle, 0), this.width), event.key === '-' ? 1 / KEY_STEP : KEY_STEP);
		} else if (event.key === deeper)
			next = this.view.childEnd[node] > this.view.childStart[node] ? this.view.childStart[node] : node;
		else if (event.key === higher)
			next = Math.max(0, this.view.parent[node]);
		else if (event.key === 'ArrowLeft' || event.key === 'ArrowRight')
			next = this.sibling(node, event.key === 'ArrowLeft' ? -1 : 1);
		else if (event.key === 'Home')
			next = 0;
		else if (event.key === 'Enter' || event.key === ' ') {
			event.preventDefault();
			this.events.onOpen(node);
		}
		if (next < 0)
			return;
		event.preventDefault();
		this.select(next);
		this.events.onSelect(next);
	}

	// The next node of the same level that lies within the focus.
	sibling(node, step) {
		const { view } = this;
		const level = view.depth[node];
		const other = node + step;
		if (other < view.levels[level] || other >= view.levels[level + 1])
			return node;
		return level < view.depth[view.focus] || isAncestor(view, view.focus, other) ? other : node;
	}
}
