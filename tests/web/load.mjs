// SPDX-License-Identifier: MIT
// What the tests test: the modules, or (SCTMEM_BUNDLE=report.js) what ships, the bundle, in a script without modules.
import { readFileSync, readdirSync } from 'node:fs';
import vm from 'node:vm';

const folder = new URL('../../reader/web/', import.meta.url);

async function loadModules() {
	const all = {};
	for (const name of readdirSync(folder).filter((file) => file.endsWith('.mjs')).sort())
		Object.assign(all, await import(new URL(name, folder)));
	return all;
}

export const sctmem = process.env.SCTMEM_BUNDLE ?
	vm.runInThisContext(readFileSync(process.env.SCTMEM_BUNDLE, 'utf8') + '\nsctmem;') : await loadModules();

// A repeatable source of numbers below 1.
export function randomSource(seed) {
	let state = seed >>> 0;
	return () => {
		state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
		return state / 2 ** 32;
	};
}

// A small report as data.mjs would give it, with a random tree: parents before children, costs at any node.
export function randomReport(seed, nodeCount, frameCount, siteCount) {
	const random = randomSource(seed);
	const below = (limit) => Math.floor(random() * limit);
	const nodes = { count: nodeCount, parent: new Uint32Array(nodeCount), frame: new Uint32Array(nodeCount) };
	for (let i = 1; i < nodeCount; i++) {
		nodes.parent[i] = random() < 0.6 ? i - 1 : below(i);
		nodes.frame[i] = 1 + below(frameCount - 1);
	}
	const strings = [''];
	const frames = { count: frameCount, kind: new Uint8Array(frameCount), flags: new Uint8Array(frameCount) };
	for (const column of ['function', 'file', 'module', 'line'])
		frames[column] = new Uint32Array(frameCount);
	for (let i = 0; i < frameCount; i++) {
		frames.function[i] = strings.push('function_' + (i >> 1)) - 1;
		frames.file[i] = strings.push('/folder/file_' + (i >> 2) + '.py') - 1;
		frames.line[i] = i;
		frames.flags[i] = 1 << below(8) & 7;
	}
	// Equal texts have one number, as in a page.
	for (const column of ['function', 'file'])
		frames[column] = frames[column].map((s) => strings.indexOf(strings[s]));
	const sites = {
		count: siteCount, node: new Uint32Array(siteCount), thread: new Uint32Array(siteCount),
		domain: new Uint8Array(siteCount), counted: new Uint8Array(siteCount), allocator: new Uint8Array(siteCount),
		costs: [],
	};
	for (let i = 0; i < siteCount; i++) {
		sites.node[i] = below(nodeCount);
		sites.thread[i] = below(3);
		sites.domain[i] = below(5);
		sites.counted[i] = sites.domain[i] < 3 ? 1 : 0;
	}
	for (let column = 0; column < 8; column++)
		sites.costs.push(Float64Array.from(sites.node, () => random() < 0.3 ? 0 : below(1000)));
	const threads = {
		count: 3, capture: new Uint32Array(3), tid: Uint32Array.of(7, 8, 9), name: new Uint32Array(3),
		start: new Float64Array(3),
	};
	const meta = { captures: [{ pid: 7, arguments: ['x'] }], domains:
		[0, 1, 2, 3, 4, 5].map((i) => ({ name: 'd' + i })), allocators: {} };
	const report = { strings, frames, nodes, sites, threads, meta, sources: new Map() };
	sctmem.addPartFrames(report);
	return report;
}
