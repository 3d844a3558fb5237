// SPDX-License-Identifier: MIT
// Trees made from the page's tree, before anything is summed: split into parts, frames hidden, recursion merged.
//
//     nodes and sites --split--> a copy of each stack below its thread, process or kind of memory
//                     --fold---> without hidden frames, and with a call of a function that is already on the stack
//                                moved to that earlier call
//
// Both give a report with other nodes, and sites that lie at them; every cost stays where it was, so no sum changes.
import { hiddenNodes } from './tree.mjs';

export const SPLITS = ['', 'thread', 'domain', 'process'];

// Which part a site belongs to.
function partOf(report, way, site) {
	const { sites, threads } = report;
	if (way === 'domain')
		return sites.domain[site];
	return way === 'thread' ? sites.thread[site] : threads.capture[sites.thread[site]];
}

// Nodes that are added one by one, each after its parent.
class NodeList {
	constructor() {
		this.parent = [0];
		this.frame = [0];
	}

	add(parent, frame) {
		this.parent.push(parent);
		return this.frame.push(frame) - 1;
	}

	finish() {
		return { count: this.parent.length, parent: Uint32Array.from(this.parent), frame: Uint32Array.from(this.frame) };
	}
}

export function splitNodes(report, way) {
	const { nodes, sites, parts } = report;
	if (!way || nodes.count === 0)
		return report;
	const byPart = new Map();
	for (let site = 0; site < sites.count; site++) {
		const part = partOf(report, way, site);
		if (!byPart.has(part))
			byPart.set(part, []);
		byPart.get(part).push(site);
	}
	const list = new NodeList();
	const moved = new Uint32Array(sites.count);
	const copy = new Uint32Array(nodes.count);
	for (const part of [...byPart.keys()].sort((a, b) => a - b)) {
		const used = [];
		const top = list.add(0, parts[way] + part);
		copy[0] = top;
		for (const site of byPart.get(part)) {
			for (let node = sites.node[site]; node > 0 && copy[node] === 0; node = nodes.parent[node]) {
				copy[node] = 1;
				used.push(node);
			}
		}
		// Parents first: their numbers are smaller.
		for (const node of Uint32Array.from(used).sort())
			copy[node] = list.add(copy[nodes.parent[node]], nodes.frame[node]);
		for (const site of byPart.get(part))
			moved[site] = copy[sites.node[site]];
		for (const node of used)
			copy[node] = 0;
	}
	return { ...report, nodes: list.finish(), sites: { ...sites, node: moved } };
}

// groups: which frames are the same function.  The result also has `moved` (node before -> node after) and `origin`
// (node after -> the first node before that became it), and nothing of it is hidden.
export function foldNodes(report, groups, hide) {
	const { nodes, sites } = report;
	const hidden = hiddenNodes(report, hide);
	const list = new NodeList();
	const moved = new Uint32Array(nodes.count);
	const origin = [0];
	const children = new Map();
	for (let node = 1; node < nodes.count; node++) {
		const above = moved[nodes.parent[node]];
		if (hidden[node]) {
			moved[node] = above;
			continue;
		}
		const group = groups.of[nodes.frame[node]];
		let earlier = above;
		while (earlier > 0 && groups.of[list.frame[earlier]] !== group)
			earlier = list.parent[earlier];
		if (earlier === 0) {
			// The same function called from the same place in two of the old nodes is one: the tree must not grow apart.
			const key = above * groups.count + group;
			earlier = children.get(key);
			if (earlier === undefined) {
				earlier = list.add(above, nodes.frame[node]);
				children.set(key, earlier);
				origin.push(node);
			}
		}
		moved[node] = earlier;
	}
	return {
		...report, nodes: list.finish(), moved, origin: Uint32Array.from(origin),
		sites: { ...sites, node: sites.node.map((node) => moved[node]) },
	};
}
