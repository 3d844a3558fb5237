// SPDX-License-Identifier: MIT
// How far the figures of a sample can be trusted.  The formula, its sources and its tests are reader/estimate.c's; this
// is the same in the same order, so that the page shows what the command says.
import { formatBytes, formatExact } from './units.mjs';

const NORMAL_QUANTILE = 1.959963984540054;     // of 97.5 per cent

// The chi-squared quantile of 2k degrees of freedom, halved: direction -1 for the lower, 1 for the upper end.
function byar(k, direction) {
	const root = 1 - 1 / (9 * k) + direction * NORMAL_QUANTILE / (3 * Math.sqrt(k));
	return root > 0 ? k * root * root * root : 0;
}

// [low, high] of an estimate in bytes: of what of it was not seen, and its variance; mean: of the sampling then.
export function interval(estimate, unseen, variance, mean) {
	if (mean === 0)
		return [estimate, estimate];
	unseen = Math.max(0, unseen);
	variance = Math.max(0, variance);
	const seen = Math.max(0, estimate - unseen);
	let low = 0;
	if (unseen > 0 && variance > 0)
		low = variance / unseen * byar(unseen / (variance / unseen), -1);
	const scale = (variance + mean * mean) / (unseen + mean);
	const high = scale * byar((unseen + mean) / scale, 1);
	return [Math.min(estimate, Math.floor(seen + low)), Math.max(estimate, Math.ceil(seen + high))];
}

// Of after - before, two independent estimates with their intervals: reader/estimate.c's estimate_difference.
export function differenceInterval(before, ofBefore, after, ofAfter) {
	const distance = (a, b) => Math.sqrt(a * a + b * b);
	return [Math.floor(after - before - distance(after - ofAfter[0], ofBefore[1] - before)),
		Math.ceil(after - before + distance(ofAfter[1] - after, before - ofBefore[0]))];
}

// "1.5 to 2.1 MiB", "900 KiB to 1.1 MiB", "exact".
export function intervalText(interval) {
	if (!isEstimate(interval))
		return 'exact';
	const [low, high] = interval.map((bytes) => formatBytes(bytes).split(' '));
	return (low[1] === high[1] ? low[0] : low.join(' ')) + ' to ' + high.join(' ');
}

// interval: of the bytes; undefined in a page that is no sample.
export function intervalTitle(interval) {
	return isEstimate(interval) ? interval.map(formatExact).join(' to ') +
		' bytes: the truth lies there in 95 of 100 samples' : '';
}

// How many blocks there are is an estimate where the bytes are one; of them there is no interval in a page.
export function blocksText(text, interval) {
	return isEstimate(interval) ? '≈ ' + text : text;
}

export function blocksTitle(text, interval) {
	return text + (isEstimate(interval) ? ', an estimate; no interval here' : '');
}

export function isEstimate(interval) {
	return !!interval && interval[0] !== interval[1];
}
