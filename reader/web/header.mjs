// SPDX-License-Identifier: MIT
// What the page says about the run: the facts, and as badges whatever a reader must know before trusting them.
import { formatBytes, formatCount, formatExact, formatTime, pythonVersion } from './units.mjs';

const STATE_RUNNING = 0;
const STATE_STOPPED_STORAGE = 2;
const STATE_STOPPED_MEMORY = 3;
const STATE_STOPPED_USER = 4;
const STATE_CONTINUED = 5;
const STATE_STOPPED_FILTER = 6;
const PYTHON_FREE_THREADED = 2;

const sum = (captures, key) => captures.reduce((all, capture) => all + capture[key], 0);

// "python3 app.py": arguments with anything unusual are quoted, as a shell would want them.
export function commandLine(words) {
	const quote = (word) => /^[\w@%+=:,./~-]+$/.test(word) ? word : "'" + word.replaceAll("'", "'\\''") + "'";
	return words.map(quote).join(' ');
}

// suppressions: [[pattern, bytes, blocks]], what each line of the file of --suppressions hit.
export function suppressedSum(suppressions) {
	return {
		bytes: suppressions.reduce((sum, [, bytes]) => sum + bytes, 0),
		hits: suppressions.filter(([, , count]) => count > 0).length, all: suppressions.length,
	};
}

// How a capture ended, in a word or two.
export function captureState(capture) {
	if (capture.alive)
		return 'still running';
	return {
		[STATE_RUNNING]: 'ended without notice', [STATE_STOPPED_STORAGE]: 'disk full', [STATE_STOPPED_MEMORY]:
			'out of memory',
		[STATE_STOPPED_USER]: 'stopped', [STATE_CONTINUED]: 'goes on in the next segment',
		[STATE_STOPPED_FILTER]: 'stopped at a filter',
	}[capture.state] || 'complete';
}

// [{ level: bad | warn | info, label, text }], the worst first.
export function reportBadges(meta) {
	const badges = [];
	const { captures } = meta;
	const several = captures.length > 1;
	const add = (level, label, text) => badges.push({ level, label, text });
	const those = (test) => captures.filter(test);
	const which = (list) => several ? ' (' + list.length + ' of ' + captures.length + ' captures)' : '';
	const count = (key, level, label, text) => {
		const all = sum(captures, key);
		if (all)
			add(level, formatCount(all) + ' ' + label, formatExact(all) + ' ' + text);
	};

	const damaged = those((capture) => capture.damaged);
	if (damaged.length) {
		add('bad', 'damaged' + which(damaged), damaged.map((capture) => capture.problem).join('; ') + ' ('
			+ formatExact(sum(damaged, 'damaged_bytes')) + ' bytes skipped)');
	}
	const later = those((capture) => capture.segment_first > 1);
	if (later.length) {
		add('warn', 'first segments missing' + which(later), 'The first segment that is here is number '
			+ later.map((capture) => capture.segment_first).join(', ')
			+ ' of the run: what was allocated before is in no figure.');
	}
	const continued = those((capture) => capture.state === STATE_CONTINUED);
	if (continued.length) {
		add('warn', 'last segments missing' + which(continued), 'The run goes on in segments that are not here: what lives '
			+ 'at the end lived when the last of these ended.');
	}
	const full = those((capture) => capture.state === STATE_STOPPED_STORAGE);
	if (full.length)
		add('bad', 'disk full' + which(full), 'Recording stopped: the file could not grow; what came later is missing.');
	const starved = those((capture) => capture.state === STATE_STOPPED_MEMORY);
	if (starved.length)
		add('bad', 'recorder out of memory' + which(starved), 'Recording stopped; what came later is missing.');
	const filtered = those((capture) => capture.state === STATE_STOPPED_FILTER);
	if (filtered.length) {
		add('bad', 'ends at a filter' + which(filtered), 'Recording stopped where the program had its system calls '
			+ 'filtered (seccomp); what came later is missing.');
	}
	count('lost_events', 'bad', 'events lost', 'events could not be recorded; figures are too low or too high by them.');
	count('contradictions', 'warn', 'contradictions',
		'events contradict the live heap, such as an address allocated twice; they were counted as they came.');
	const killed = those((capture) => capture.state === STATE_RUNNING && !capture.alive);
	if (killed.length) {
		add('warn', 'ended without notice' + which(killed),
			'Killed, or ended by _exit. Everything up to the last event is here.');
	}
	count('lost_threads', 'warn', 'threads not recorded', 'threads could not be given a stream.');
	count('stacks_truncated', 'warn', 'stacks cut', 'stacks were deeper than the limit; their outer frames are missing.');
	count('stacks_degraded', 'warn', 'stacks degraded', 'stacks were cut because the table of stacks was full.');
	count('python_refused', 'warn', 'without Python stack', 'Python stacks were not taken: the runtime is not known.');
	const compacted = those((capture) => capture.compacted_us);
	if (compacted.length) {
		add('info', 'compacted' + which(compacted), 'Live memory is exact at the peak, at marks and every '
			+ compacted.map((capture) => formatTime(capture.compacted_us)).join(', ')
			+ ', and a lower bound in between, where what was freed again has its sums only.');
	}
	const aggregated = those((capture) => capture.aggregated_blocks);
	if (aggregated.length) {
		const sum = (key) => aggregated.reduce((all, capture) => all + capture[key], 0);
		add('info', 'aggregated' + which(aggregated), 'Of ' + formatExact(sum('aggregated_blocks'))
			+ ' blocks that were soon freed again there are sums only. Totals, and what is live at samples of resident '
			+ 'memory, at marks and at the end ' + (meta.sample ? 'do not suffer from that' : 'are exact')
			+ '; the peak and other moments are low by at most '
			+ formatBytes(sum('aggregated_peak_bytes')) + '.');
	}
	if (meta.sample) {
		const [, recorded, passed, ...ends] = meta.sample;
		const interval = (name, index) => name + ' ' + formatBytes(ends[index]) + ' to ' + formatBytes(ends[index + 1]);
		add('warn', 'sampled: peak ' + formatBytes(ends[4]) + ' to ' + formatBytes(ends[5]), 'One block about every '
			+ meta.sample_steps.map(([capture, size, time]) => formatBytes(size) + ' from ' + formatTime(time) + ' on'
				+ (several ? ' (process ' + captures[capture].pid + ')' : '')).join(', ')
			+ ': ' + formatExact(recorded) + ' recorded, ' + formatExact(passed)
			+ ' not. Figures of blocks are estimates, mappings are exact. 95 % intervals of all blocks: '
			+ [interval('peak', 4), interval('live', 8), interval('allocated', 0), interval('temporary', 12)].join(', '));
	}
	if (meta.clamped)
		add('warn', 'numbers too large', formatExact(meta.clamped) + ' numbers exceed what this page can show exactly.');
	const alive = those((capture) => capture.alive);
	if (alive.length)
		add('info', 'still running' + which(alive), 'The page shows the process as it was when the page was made.');
	const paused = those((capture) => capture.paused);
	if (paused.length)
		add('warn', 'recording stopped' + which(paused), 'Nothing is known from then on; what lives at the end lived then.');
	count('forgotten_count', 'warn', 'blocks not followed',
		'blocks lived when recording stopped; they count neither as freed nor as live after it began again.');
	const stopped = those((capture) => capture.state === STATE_STOPPED_USER);
	if (stopped.length)
		add('info', 'ended by its user' + which(stopped), 'Recording was ended by sctmem detach or sctmem_stop.');
	if (!meta.symbols_resolved)
		add('info', 'no symbols', 'Native frames are shown as module and offset.');
	if (several)
		add('info', captures.length + ' processes', captures.map((capture) => capture.pid + '  ' + capture.path).join('\n'));
	return badges;
}

// [[name, short text, exact text]]: what is not known is left out.
// Those of the run compared with, too.
export function allBadges(meta) {
	const before = meta.before_run ? reportBadges({ ...meta, sample: null, sample_steps: null, window: null, clamped: 0,
		...meta.before_run }) : [];
	return [...reportBadges(meta), ...before.map((badge) => ({ ...badge, label: 'before: ' + badge.label }))];
}

export function reportFacts(meta) {
	const first = meta.captures[0];
	if (!first)
		return [];
	const facts = [];
	const add = (name, text, exact = '') => text && facts.push([name, text, exact]);
	const unique = (values) => [...new Set(values.filter((value) => value))];
	add('Host', unique(meta.captures.map((capture) => capture.host)).join(', '));
	add('Process', String(first.pid) + (meta.captures.length > 1 ? ' +' + (meta.captures.length - 1) : ''),
		meta.captures.map((capture) => capture.pid + ' ' + capture.executable).join('\n'));
	const python = meta.captures.find((capture) => capture.python_version);
	if (python) {
		add('Python', pythonVersion(python.python_version) + (python.python_flags & PYTHON_FREE_THREADED ? 't' : '') +
			(python.python_allocator ? ' · ' + python.python_allocator : ''));
	}
	add('Started', first.start_ms ? new Date(first.start_ms).toLocaleString(undefined,
		{ dateStyle: 'medium', timeStyle: 'short' }) : '', first.start_ms ? new Date(first.start_ms).toISOString() : '');
	add('Duration', formatTime(meta.duration_us), formatExact(meta.duration_us) + ' µs');
	if (meta.before_run) {
		const { captures, duration_us: duration } = meta.before_run;
		add('Before', captures[0].path + (captures.length > 1 ? ' +' + (captures.length - 1) : '') + ' · ' +
			formatTime(duration), captures.map((capture) => capture.path).join('\n'));
	}
	// [mean distance of blocks in bytes, ...] of a sample; see formats/report.md.
	add('Sampling', meta.sample ? 'a block about every ' + formatBytes(meta.sample[0]) : 'none',
		meta.sample ? 'figures of blocks are estimates' : 'every allocation was recorded');
	if (meta.sample) {
		const [, , , ...ends] = meta.sample;
		const interval = (index) => formatBytes(ends[index]) + ' to ' + formatBytes(ends[index + 1]);
		add('Peak, 95 %', interval(4), formatExact(ends[4]) + ' to ' + formatExact(ends[5]) + ' bytes');
		add('Live, 95 %', interval(8), formatExact(ends[8]) + ' to ' + formatExact(ends[9]) + ' bytes');
		add('Allocated, 95 %', interval(0), formatExact(ends[0]) + ' to ' + formatExact(ends[1]) + ' bytes');
	}
	const events = sum(meta.captures, 'events');
	add('Events', formatCount(events), formatExact(events));
	add('Lost', formatExact(sum(meta.captures, 'lost_events')), 'events that could not be recorded');
	if (meta.suppressions) {
		const { bytes, hits, all } = suppressedSum(meta.suppressions);
		add('Suppressed', formatBytes(bytes) + ' of what was never freed', formatExact(bytes) + ' bytes, by ' + hits +
			' of ' + all + ' suppressions; the view of leaks sets them apart');
	}
	if (meta.resident_peak_bytes)
		add('RSS max', formatBytes(meta.resident_peak_bytes), formatExact(meta.resident_peak_bytes) + ' bytes');
	const tracer = sum(meta.captures, 'tracer_bytes');
	add('Recorder', formatBytes(tracer), formatExact(tracer) + ' bytes of memory, taken by sctmem itself');
	const file = sum(meta.captures, 'file_bytes');
	add('Capture', formatBytes(file), formatExact(file) + ' bytes\n' + meta.captures.map((c) => c.path).join('\n'));
	return facts;
}
