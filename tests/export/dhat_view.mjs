// SPDX-License-Identifier: MIT
// Loads a DHAT file with the code of valgrind's own viewer and prints the totals of the tree that it builds:
//     node dhat_view.mjs .../dh_view.js FILE
// The viewer's page is stood in for by an object that takes every property and call.
import fs from "node:fs";
import vm from "node:vm";

const [viewer, file] = process.argv.slice(2);
const page = new Proxy(function () {}, {
	get: (_, name) => name === Symbol.toPrimitive ? () => "" : name === Symbol.iterator ? [][name].bind([]) : page,
	set: () => true,
	apply: () => page,
	construct: () => page,
});
const context = vm.createContext({ document: page, window: page, console, performance, Intl });
vm.runInContext(fs.readFileSync(viewer, "utf8"), context, { filename: viewer });
context.text = fs.readFileSync(file, "utf8");
const found = vm.runInContext(`
	gSelect = { childNodes: gSelectData.map(() => ({})), selectedIndex: 0 };
	gData = JSON.parse(text);
	buildTree();
	JSON.stringify({ totalBytes: gRoot._totalBytes, totalBlocks: gRoot._totalBlocks,
		lifetimes: gRoot._totalLifetimes ?? gRoot._totalLifetimesInstrs, peakBytes: gRoot._atTGmaxBytes,
		peakBlocks: gRoot._atTGmaxBlocks, endBytes: gRoot._atTEndBytes, endBlocks: gRoot._atTEndBlocks });
`, context);
process.stdout.write(found + "\n");
