// SPDX-License-Identifier: MIT
// Opens files with speedscope's own importer, under node:  node speedscope.mjs PACKAGE FILE...
//
// PACKAGE is the folder of the npm package `speedscope`: the page that people open, as one script.  What it exports
// inside itself goes through Object.defineProperty, where the importer is picked up; the rest of the page gets a
// document that takes everything and does nothing.  Writes, as JSON, for each file its profiles:
// [{name, unit, total, self, frames: {"function\0file\0line": [self, total]}}].
import { readFileSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import vm from 'node:vm';

const [folder, ...files] = process.argv.slice(2);
const release = join(folder, 'dist/release');
const script = readdirSync(release).find((name) => /^speedscope[-.].*js$/.test(name));

// Anything: can be called, built, read and written, to any depth.
const anything = new Proxy(function () {}, {
	get: (_, name) => (name === Symbol.toPrimitive ? () => '' : name === Symbol.iterator ? () => [][Symbol.iterator]() :
		name === 'then' ? undefined : name === 'length' ? 0 : anything),
	set: () => true,
	apply: () => anything,
	construct: () => anything,
	has: () => true,
});

let importer;
class WatchedObject extends Object {}
for (const name of Object.getOwnPropertyNames(Object))
	if (!(name in Function.prototype) || name === 'name')
		try { WatchedObject[name] = Object[name]; } catch { /* name and length stay */ }
WatchedObject.defineProperty = (target, name, how) => {
	if (name === 'importProfilesFromArrayBuffer')
		importer = target;
	return Object.defineProperty(target, name, how);
};

const page = {
	Object: WatchedObject, console: { log() {}, warn() {}, error() {} }, setTimeout, clearTimeout, TextDecoder,
	TextEncoder, URL, URLSearchParams, ArrayBuffer, Uint8Array, DataView, Promise, performance, atob, btoa, BigInt,
	navigator: { userAgent: '', platform: '' },
	location: { hash: '', href: 'http://localhost/', protocol: 'file:', search: '' },
	document: anything, localStorage: anything, requestAnimationFrame() {}, cancelAnimationFrame() {},
	matchMedia: () => anything,
	addEventListener() {}, removeEventListener() {}, devicePixelRatio: 1, fetch: async () => anything, Image: anything,
	FontFace: anything, Node: anything, HTMLElement: anything, FileReader: anything, Worker: anything, history: anything,
};
page.window = page.self = page.globalThis = page;
vm.createContext(page);
try {
	vm.runInContext(readFileSync(join(release, script), 'utf8'), page, { filename: script });
} catch (error) {
	if (!importer)
		throw error;
}
await new Promise((resolve) => setTimeout(resolve, 0));

const results = [];
for (const file of files) {
	const bytes = readFileSync(file);
	const group = await importer.importProfilesFromArrayBuffer(basename(file),
		bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
	results.push(group.profiles.map((profile) => {
		const frames = {};
		let self = 0;
		profile.forEachFrame((frame) => {
			const key = [frame.name, frame.file ?? '', frame.line ?? ''].join('\0');
			const before = frames[key] ?? [0, 0];
			frames[key] = [before[0] + frame.getSelfWeight(), before[1] + frame.getTotalWeight()];
			self += frame.getSelfWeight();
		});
		return { name: profile.getName(), unit: profile.getWeightUnit(), total: profile.getTotalWeight(),
			nonIdle: profile.getTotalNonIdleWeight(), self, frames };
	}));
}
process.stdout.write(JSON.stringify(results));
