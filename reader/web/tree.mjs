// SPDX-License-Identifier: MIT
// From sites to the tree that a flame graph shows: filtered, grouped, with frames hidden, from either end.
//
//     sites --filter--> own cost of each node --hide, group--> a view (top down, or inverted) --> layout, table
//
// A view's nodes are in breadth-first order and siblings by falling cost, so that each level is a contiguous range
// of nodes whose x rises: drawing and hit-testing are binary searches.  Values are integers and add up exactly.
import { COSTS, FLAG_ALLOCATOR, FLAG_IMPORT, FLAG_INTERPRETER, FLAG_LIBRARY } from './data.mjs';
import { KIND_NATIVE, KIND_PART, KIND_PYTHON } from './data.mjs';

export const METRICS = ['peak', 'leaked', 'total', 'temporary'];
const METRIC_COLUMN = { total: 0, peak: 2, leaked: 4, temporary: 6 };

// A child narrower than this part of what is in focus would be a fraction of a pixel: an inverted view leaves it out.
const INVERTED_DETAIL = 1 / 32768;

export function costColumn(metric, unit) {
	return METRIC_COLUMN[metric] + (unit === 'count' ? 1 : 0);
}

// The children of each node, as ranges of one array.
export function indexChildren(nodes) {
	const { count, parent } = nodes;
	const start = new Uint32Array(count + 1);
	for (let i = 1; i < count; i++)
		start[parent[i] + 1]++;
	for (let i = 0; i < count; i++)
		start[i + 1] += start[i];
	const next = start.slice(0, count);
	const list = new Uint32Array(Math.max(count - 1, 0));
	for (let i = 1; i < count; i++)
		list[next[parent[i]]++] = i;
	return { start, list };
}

// filter: thread (index, -1: all), domain (number, -1: those that are counted), allocator (number; none: all).
export function siteSelected(sites, i, filter) {
	return (filter.domain < 0 ? sites.counted[i] === 1 : sites.domain[i] === filter.domain) &&
		(filter.thread < 0 || sites.thread[i] === filter.thread) &&
		(filter.allocator === undefined || sites.allocator[i] === filter.allocator);
}

// What was allocated at each node itself.
export function exclusiveCosts(report, column, filter) {
	return exclusiveSums(report, report.sites.costs[column], filter);
}

// The same of any figures of the sites.
export function exclusiveSums(report, costs, filter) {
	const { sites, nodes } = report;
	const own = new Float64Array(nodes.count);
	for (let i = 0; i < sites.count; i++) {
		if (costs[i] !== 0 && siteSelected(sites, i, filter))
			own[sites.node[i]] += costs[i];
	}
	return own;
}

// What was allocated at each node and below.
export function inclusiveCosts(nodes, own) {
	const all = own.slice();
	for (let i = nodes.count - 1; i > 0; i--)
		all[nodes.parent[i]] += all[i];
	return all;
}

// The same report with other costs of its sites, or other figures in their place.
export function withCosts(report, costs) {
	return { ...report, sites: { ...report.sites, costs } };
}

// The sums of all eight costs over the selected sites.
export function sumCosts(report, filter) {
	const sums = new Array(COSTS).fill(0);
	for (let i = 0; i < report.sites.count; i++) {
		if (!siteSelected(report.sites, i, filter))
			continue;
		for (let column = 0; column < COSTS; column++)
			sums[column] += report.sites.costs[column][i];
	}
	return sums;
}

function groupKey(frames, i, by) {
	if (frames.kind[i] === KIND_PART)
		return i;
	if (by === 'module')
		return frames.kind[i] === KIND_NATIVE ? 'n' + frames.module[i] : frames.kind[i] + '/' + frames.file[i];
	return frames.kind[i] + '/' + frames.function[i] + '/' + frames.file[i] + '/' + frames.module[i];
}

// Which frames are one box.  by: line (each for itself), function, module.  A group's frame stands for it.
export function groupFrames(frames, by) {
	const of = new Uint32Array(frames.count);
	const frame = [];
	const known = new Map();
	for (let i = 0; i < frames.count; i++) {
		const key = by === 'line' || i === 0 ? i : groupKey(frames, i, by);
		let group = known.get(key);
		if (group === undefined) {
			group = frame.length;
			known.set(key, group);
			frame.push(i);
		}
		of[i] = group;
	}
	return { by, of, frame, count: frame.length, isPart: frame.map((i) => frames.kind[i] === KIND_PART) };
}

// 1 for each node that is taken out of its stacks.  hide: a string of i (the interpreter's frames and those of
// allocators), m (import machinery), l (library code).  The rule is that of reader/calltree.c, so that this page and
// the text views name the same frames: the frame by which a thread enters the interpreter shows, and no stack is left
// without a frame.
export function hiddenNodes(report, hide) {
	const { nodes, frames, sites } = report;
	const mask = (hide.includes('i') ? FLAG_INTERPRETER | FLAG_ALLOCATOR : 0) | (hide.includes('m') ? FLAG_IMPORT : 0) |
		(hide.includes('l') ? FLAG_LIBRARY : 0);
	const hidden = new Uint8Array(nodes.count);
	if (mask === 0)
		return hidden;
	// What is at a node or above it: 1 a frame that shows, 2 a Python frame; at the node itself: 4 the interpreter.
	const marks = new Uint8Array(nodes.count);
	for (let i = 1; i < nodes.count; i++) {
		const flags = frames.flags[nodes.frame[i]];
		const above = marks[nodes.parent[i]];
		const enters = flags & FLAG_INTERPRETER && !(above & 6);
		hidden[i] = flags & mask && !enters ? 1 : 0;
		marks[i] = above & 3 | (frames.kind[nodes.frame[i]] === KIND_PYTHON ? 2 : 0) |
			(flags & FLAG_INTERPRETER ? 4 : 0) | (hidden[i] || frames.kind[nodes.frame[i]] === KIND_PART ? 0 : 1);
	}
	for (let i = 0; i < sites.count; i++) {
		if (!(marks[sites.node[i]] & 1))
			hidden[sites.node[i]] = 0;
	}
	return hidden;
}

// Columns that grow; a view's size is known only when it is built.
class ViewBuilder {
	constructor(groups, capacity) {
		this.groups = groups;
		this.count = 0;
		this.capacity = Math.max(capacity, 16);
		this.columns = {
			parent: new Int32Array(this.capacity), group: new Uint32Array(this.capacity),
			value: new Float64Array(this.capacity), self: new Float64Array(this.capacity),
			x: new Float64Array(this.capacity), entryStart: new Uint32Array(this.capacity),
			entryEnd: new Uint32Array(this.capacity), childStart: new Uint32Array(this.capacity),
			childEnd: new Uint32Array(this.capacity), depth: new Uint32Array(this.capacity),
		};
		this.slotOfGroup = new Uint32Array(groups.count);
		this.stampOfGroup = new Int32Array(groups.count).fill(-1);
	}

	grow() {
		this.capacity *= 2;
		for (const [name, column] of Object.entries(this.columns)) {
			const larger = new column.constructor(this.capacity);
			larger.set(column);
			this.columns[name] = larger;
		}
	}

	add(parent, group, value, x, entryStart, entryEnd) {
		if (this.count === this.capacity)
			this.grow();
		const i = this.count++;
		const to = this.columns;
		to.parent[i] = parent;
		to.group[i] = group;
		to.value[i] = value;
		to.self[i] = value;
		to.x[i] = x;
		to.entryStart[i] = entryStart;
		to.entryEnd[i] = entryEnd;
		to.depth[i] = parent < 0 ? 0 : to.depth[parent] + 1;
		return i;
	}

	finish(inverted, entries) {
		const view = { inverted, entries, groups: this.groups, count: this.count, levels: [] };
		for (const [name, column] of Object.entries(this.columns))
			view[name] = column.subarray(0, this.count);
		for (let i = 0; i < this.count; i++) {
			if (view.depth[i] === view.levels.length)
				view.levels.push(i);
		}
		view.levels.push(this.count);
		return view;
	}
}

// The members of one view node's children, gathered by group before they get their place.  One is used for all nodes
// of a view, and its arrays again and again: a million nodes must not make a million arrays.
class Family {
	constructor() {
		this.memberCount = 0;
		this.slotCount = 0;
		this.members = [];
		this.slots = [];
		this.groups = [];
		this.values = [];
		this.sizes = [];
		this.order = [];
		this.starts = [];
		this.next = [];
		this.compare = (a, b) => this.values[b] - this.values[a] || this.groups[a] - this.groups[b];
	}

	clear() {
		this.memberCount = this.slotCount = 0;
	}

	add(builder, parent, group, member, value) {
		if (builder.stampOfGroup[group] !== parent) {
			builder.stampOfGroup[group] = parent;
			builder.slotOfGroup[group] = this.slotCount;
			this.groups[this.slotCount] = group;
			this.values[this.slotCount] = 0;
			this.sizes[this.slotCount++] = 0;
		}
		const slot = builder.slotOfGroup[group];
		this.members[this.memberCount] = member;
		this.slots[this.memberCount++] = slot;
		this.values[slot] += value;
		this.sizes[slot]++;
	}

	sortSlots() {
		const { order, slotCount, compare } = this;
		// Most families are small: sorted in place by insertion.
		if (slotCount > 12) {
			this.order = Array.from({ length: slotCount }, (_, slot) => slot).sort(compare);
			return;
		}
		for (let slot = 0; slot < slotCount; slot++) {
			let i = slot;
			for (; i > 0 && compare(order[i - 1], slot) > 0; i--)
				order[i] = order[i - 1];
			order[i] = slot;
		}
	}

	// Orders the slots by falling value (the group's number decides between equals, so that a page always looks the
	// same) and puts the members into entries from `first` on, one child's after the other's.
	place(entries, first) {
		this.sortSlots();
		const { order, starts, next, sizes, members, slots, slotCount, memberCount } = this;
		let at = first;
		for (let i = 0; i < slotCount; i++) {
			starts[order[i]] = next[order[i]] = at;
			at += sizes[order[i]];
		}
		for (let i = 0; i < memberCount; i++)
			entries[next[slots[i]]++] = members[i];
	}
}

// From the outermost callers down.  Entries are nodes, and a view node's cost is what was allocated below them.
// roots: null, or nodes of one group, none of them below another: the view begins at them, taken together.
// counts: what is not 0 at each node that costs anything, so that it counts in the other costs of a view node (costsOf)
// even where it has none of this one.
export function buildTopDown(nodes, children, groups, hidden, own, roots = null, counts = own) {
	const all = inclusiveCosts(nodes, own);
	const any = counts === own ? all : inclusiveCosts(nodes, counts);
	const { start, list } = children;
	const { frame } = nodes;
	const builder = new ViewBuilder(groups, Math.min(nodes.count, 1 << 20));
	const entries = new Uint32Array(nodes.count);
	const ofNode = new Int32Array(nodes.count).fill(-1);
	const family = new Family();
	const pending = [];
	let entryCount = roots ? roots.length : Math.min(nodes.count, 1);
	entries.set(roots || []);
	builder.add(-1, roots?.length ? groups.of[frame[roots[0]]] : 0,
		roots ? roots.reduce((sum, node) => sum + all[node], 0) : all[0] || 0, 0, 0, entryCount);
	const gather = (v, node) => {
		ofNode[node] = v;
		const end = start[node + 1];
		for (let c = start[node]; c < end; c++) {
			const child = list[c];
			const value = all[child];
			if (value === 0 && any[child] === 0)
				continue;
			if (hidden[child])
				pending.push(child);
			else
				family.add(builder, v, groups.of[frame[child]], child, value);
		}
	};
	for (let v = 0; v < builder.count; v++) {
		family.clear();
		const end = builder.columns.entryEnd[v];
		for (let e = builder.columns.entryStart[v]; e < end; e++) {
			gather(v, entries[e]);
			while (pending.length)
				gather(v, pending.pop());
		}
		family.place(entries, entryCount);
		entryCount += family.memberCount;
		addChildren(builder, v, family, 0);
	}
	const view = builder.finish(false, entries);
	view.ofNode = ofNode;
	view.focus = 0;
	return view;
}

// Children narrower than `least` are left out, but for the one of group `always`; they come last, so x is right.
function addChildren(builder, v, family, least, always = -1) {
	const to = builder.columns;
	to.childStart[v] = builder.count;
	let x = to.x[v];
	let shown = 0;
	for (let i = 0; i < family.slotCount; i++) {
		const slot = family.order[i];
		const value = family.values[slot];
		const start = family.starts[slot];
		if ((value >= least && value > 0) || family.groups[slot] === always)
			builder.add(v, family.groups[slot], value, x, start, start + family.sizes[slot]);
		x += value;
		shown += value;
	}
	builder.columns.self[v] -= shown;
	builder.columns.childEnd[v] = builder.count;
}

// The nearest node at or above each that is not hidden.
function visibleAncestors(nodes, hidden) {
	const shown = new Uint32Array(nodes.count);
	for (let i = 1; i < nodes.count; i++)
		shown[i] = hidden[i] ? shown[nodes.parent[i]] : i;
	return shown;
}

// From the allocating frames up to their callers.  Entries are nodes that allocate; each has a cursor that climbs one
// visible frame a level.  A view node's entries are a range that its children part further, in place.
// path: the groups that lead to what is in focus, which is shown in more detail.  parts: null, or for each node the
// part that it lies in, which then is the first level; see derive.mjs.  counts: as above.
// rootGroup: not 0: `own` lies at nodes of this group, which is the root, and the first level are its callers.
export function buildInverted(nodes, groups, hidden, own, path = [], parts = null, rootGroup = 0,
	counts = own) {
	const shown = visibleAncestors(nodes, hidden);
	const allocating = [];
	let total = 0;
	for (let i = 0; i < nodes.count; i++) {
		if (own[i] !== 0 || counts[i] !== 0) {
			allocating.push(i);
			total += own[i];
		}
	}
	const entries = Uint32Array.from(allocating);
	const cursor = new Uint32Array(nodes.count);
	const builder = new ViewBuilder(groups, 1 << 12);
	const family = new Family();
	builder.add(-1, rootGroup, total, 0, 0, entries.length);
	let focus = 0;
	let detail = path.length ? 0 : total * INVERTED_DETAIL;
	let focusEnd = -1;
	for (let v = 0; v < builder.count; v++) {
		const depth = builder.columns.depth[v];
		const onPath = v === focus && depth < path.length;
		if (v === focus && depth === path.length) {
			detail = builder.columns.value[v] * INVERTED_DETAIL;
			focusEnd = v;
		}
		const start = builder.columns.entryStart[v];
		const end = builder.columns.entryEnd[v];
		family.clear();
		let ended = start;
		for (let e = start; e < end; e++) {
			const node = entries[e];
			let up = shown[nodes.parent[cursor[node]]];
			if (depth === (parts ? 1 : 0))
				up = rootGroup ? shown[nodes.parent[node]] : shown[node];
			if (parts && (depth === 0 || nodes.parent[up] === 0))
				up = depth === 0 ? parts[node] : 0;
			cursor[node] = up;
			if (up === 0)
				entries[ended++] = node;
			else
				family.add(builder, v, groups.of[nodes.frame[up]], node, own[node]);
		}
		family.place(entries, ended);
		const within = focusEnd >= 0 && isWithin(builder.columns, v, focusEnd);
		addChildren(builder, v, family, within ? detail : total * INVERTED_DETAIL, onPath ? path[depth] : -1);
		if (onPath) {
			for (let c = builder.columns.childStart[v]; c < builder.columns.childEnd[v]; c++) {
				if (builder.columns.group[c] === path[depth])
					focus = c;
			}
		}
	}
	const view = builder.finish(true, entries);
	view.focus = focus;
	return view;
}

// Whether v is below `top` in x: as good as in the tree, since levels are laid out within their parents.
function isWithin(columns, v, top) {
	return columns.depth[v] >= columns.depth[top] && columns.x[v] >= columns.x[top] &&
		columns.x[v] + columns.value[v] <= columns.x[top] + columns.value[top];
}

// The groups from the root's child down to v.
export function pathOf(view, v) {
	const path = [];
	for (; v > 0; v = view.parent[v])
		path.push(view.group[v]);
	return path.reverse();
}

// All eight costs of a view node.  columns: own costs of the nodes for an inverted view, else inclusive ones.
export function costsOf(view, v, columns) {
	return columns.map((column) => {
		let sum = 0;
		for (let e = view.entryStart[v]; e < view.entryEnd[v]; e++)
			sum += column[view.entries[e]];
		return sum;
	});
}

// What each group allocated itself, and with all that it called; recursion counts once.  From a top-down view.
export function tabulate(view) {
	const own = new Float64Array(view.groups.count);
	const all = new Float64Array(view.groups.count);
	const largest = new Int32Array(view.groups.count).fill(-1);
	const active = new Uint32Array(view.groups.count);
	const stack = view.count ? [0] : [];
	while (stack.length) {
		const v = stack.pop();
		if (v < 0) {
			active[view.group[~v]]--;
			continue;
		}
		const group = view.group[v];
		own[group] += view.self[v];
		if (active[group] === 0)
			all[group] += view.value[v];
		active[group]++;
		if (largest[group] < 0 || view.value[v] > view.value[largest[group]])
			largest[group] = v;
		stack.push(~v);
		for (let c = view.childEnd[v] - 1; c >= view.childStart[v]; c--)
			stack.push(c);
	}
	const groups = [];
	for (let group = 0; group < view.groups.count; group++) {
		if (all[group] > 0 && view.groups.frame[group] !== 0 && !view.groups.isPart[group])
			groups.push(group);
	}
	return { groups, own, all, largest };
}

// 1 for each node that is the outermost of its group on its stack, and not hidden.  What lies below these counts once.
export function outermostNodes(report, children, groups, hidden) {
	const { nodes, frames } = report;
	const { start, list } = children;
	const outermost = new Uint8Array(nodes.count);
	const active = new Uint32Array(groups.count);
	const stack = nodes.count ? [0] : [];
	while (stack.length) {
		const entry = stack.pop();
		const node = entry < 0 ? ~entry : entry;
		const group = groups.of[nodes.frame[node]];
		if (entry < 0) {
			active[group]--;
			continue;
		}
		if (!hidden[node] && node > 0) {
			outermost[node] = active[group] === 0 && frames.kind[nodes.frame[node]] !== KIND_PART ? 1 : 0;
			active[group]++;
			stack.push(~node);
		}
		for (let c = start[node]; c < start[node + 1]; c++)
			stack.push(list[c]);
	}
	return outermost;
}

// All eight costs of each group, own and inclusive: { own: [8 columns], all: [8 columns] }.
export function groupCosts(report, groups, hidden, outermost, filter) {
	const { nodes } = report;
	const shown = visibleAncestors(nodes, hidden);
	const costs = { own: [], all: [] };
	for (let column = 0; column < COSTS; column++) {
		const own = exclusiveCosts(report, column, filter);
		const inclusive = inclusiveCosts(nodes, own);
		const ownOf = new Float64Array(groups.count);
		const allOf = new Float64Array(groups.count);
		for (let node = 1; node < nodes.count; node++) {
			ownOf[groups.of[nodes.frame[shown[node]]]] += own[node];
			if (outermost[node])
				allOf[groups.of[nodes.frame[node]]] += inclusive[node];
		}
		costs.own.push(ownOf);
		costs.all.push(allOf);
	}
	return costs;
}

// Callers and callees of a group: two views, of which the root is the group itself, with what it costs in all.
export function buildAround(report, children, groups, hidden, outermost, own, group) {
	const { nodes } = report;
	const all = inclusiveCosts(nodes, own);
	const roots = [];
	const below = new Float64Array(nodes.count);
	for (let node = 1; node < nodes.count; node++) {
		if (outermost[node] && groups.of[nodes.frame[node]] === group && all[node] > 0) {
			roots.push(node);
			below[node] = all[node];
		}
	}
	return {
		callers: buildInverted(nodes, groups, hidden, below, [], null, group),
		callees: buildTopDown(nodes, children, groups, hidden, own, roots),
	};
}
