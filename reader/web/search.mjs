// SPDX-License-Identifier: MIT
// Search by regular expression over function, file and module, and what part of the memory it matches.

// A pattern that backtracks must not hang the page on a name of 100 000 characters.
const TESTED_LENGTH = 4096;

// { regex } or { error }.  Capitals in the pattern make it case-sensitive, as in many editors.
export function compilePattern(pattern) {
	try {
		return { regex: new RegExp(pattern, /[A-Z]/.test(pattern.replace(/\\./g, '')) ? 'u' : 'iu') };
	} catch {
		try {
			// Without `u` more is allowed: "std::vector<\w>" with a stray escape, a lone brace.
			return { regex: new RegExp(pattern, 'i') };
		} catch (error) {
			return { error: error.message.replace(/^Invalid regular expression: /, '') };
		}
	}
}

// 1 for each frame of which function, file, module or file:line matches.  Each string is tested once.
export function matchFrames(report, regex) {
	const { strings, frames } = report;
	const verdict = new Uint8Array(strings.length);
	const test = (i) => {
		if (verdict[i] === 0)
			verdict[i] = regex.test(strings[i].slice(0, TESTED_LENGTH)) ? 2 : 1;
		return verdict[i] === 2;
	};
	const matched = new Uint8Array(frames.count);
	for (let i = 1; i < frames.count; i++) {
		const found = (frames.function[i] && test(frames.function[i])) || (frames.file[i] && test(frames.file[i])) ||
			(frames.module[i] && test(frames.module[i]));
		matched[i] = found || matchesPlace(strings[frames.file[i]], frames.line[i], regex) ? 1 : 0;
	}
	return matched;
}

function matchesPlace(file, line, regex) {
	return line > 0 && regex.source.includes(':') && regex.test(file.slice(-TESTED_LENGTH) + ':' + line);
}

// 1 for each group of which a frame matches.
export function matchGroups(groups, matched) {
	const of = new Uint8Array(groups.count);
	for (let i = 0; i < matched.length; i++) {
		if (matched[i])
			of[groups.of[i]] = 1;
	}
	return of;
}

// What was allocated under any matching frame; each allocation once, however many of its frames match.
export function matchedValue(nodes, matched, own) {
	const under = new Uint8Array(nodes.count);
	let sum = 0;
	for (let i = 0; i < nodes.count; i++) {
		under[i] = (i > 0 && under[nodes.parent[i]]) || matched[nodes.frame[i]] ? 1 : 0;
		if (under[i])
			sum += own[i];
	}
	return sum;
}
