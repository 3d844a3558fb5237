// SPDX-License-Identifier: MIT
// Numbers, times and names as text.  Rounded forms are for reading; beside each, the page shows the exact one.

const BYTE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
const COUNT_UNITS = ['', 'k', 'M', 'G', 'T', 'P'];

// Three significant digits, so that columns of figures are even: 9.87, 98.7, 987.
function significant(value) {
	if (value >= 99.95)
		return value.toFixed(0);
	return value.toFixed(value >= 9.995 ? 1 : 2);
}

function scaled(value, base, units, separator) {
	let unit = 0;
	let number = Math.abs(value);
	// 1023.5 KiB must not round to "1024 KiB".
	while (number >= base - 0.5 && unit < units.length - 1) {
		number /= base;
		unit++;
	}
	const text = unit === 0 ? String(Math.round(number)) : significant(number);
	return (value < 0 ? '-' : '') + text + (units[unit] ? separator + units[unit] : '');
}

export function formatBytes(value) {
	return scaled(value, 1024, BYTE_UNITS, ' ');
}

export function formatCount(value) {
	return scaled(value, 1000, COUNT_UNITS, ' ');
}

// With thin spaces between thousands: 1 234 567.
export function formatExact(value) {
	return String(value).replace(/\B(?=(\d{3})+$)/g, '\u202f');
}

export function formatValue(value, unit) {
	return unit === 'bytes' ? formatBytes(value) : formatCount(value);
}

export function formatExactValue(value, unit) {
	const noun = unit === 'bytes' ? 'byte' : 'block';
	return formatExact(value) + ' ' + noun + (value === 1 ? '' : 's');
}

export function formatShare(value, whole) {
	if (!(whole > 0))
		return '–';
	const share = value / whole * 100;
	if (share === 0 || share >= 99.995)
		return share === 0 ? '0 %' : '100 %';
	if (share < 0.01)
		return '< 0.01 %';
	return (share >= 9.995 ? Math.min(share, 99.9).toFixed(1) : share.toFixed(2)) + ' %';
}

function twoUnits(large, largeUnit, small, smallUnit) {
	return large + ' ' + largeUnit + (small ? ' ' + small + ' ' + smallUnit : '');
}

export function formatTime(microseconds) {
	const seconds = microseconds / 1e6;
	if (microseconds < 1000)
		return Math.round(microseconds) + ' µs';
	if (seconds < 1)
		return significant(microseconds / 1000) + ' ms';
	if (seconds < 60)
		return significant(seconds) + ' s';
	const minutes = Math.floor(seconds / 60);
	if (minutes < 60)
		return twoUnits(minutes, 'min', Math.floor(seconds % 60), 's');
	const hours = Math.floor(minutes / 60);
	if (hours < 48)
		return twoUnits(hours, 'h', minutes % 60, 'min');
	return twoUnits(Math.floor(hours / 24), 'd', hours % 24, 'h');
}

// Round numbers for an axis from 0 to at least max: at most `count` steps of 1, 2 or 5 times a power of the base.
export function axisTicks(max, count, binary) {
	if (!(max > 0))
		return [0];
	const base = binary ? 1024 ** Math.max(0, Math.floor(Math.log(max) / Math.log(1024))) : 1;
	const raw = max / base / count;
	const power = 10 ** Math.floor(Math.log10(raw));
	const factor = [1, 2, 5, 10].find((candidate) => candidate * power >= raw * (1 - 1e-9));
	const step = factor * power * base;
	const ticks = [];
	for (let i = 0; i * step <= max * (1 + 1e-9); i++)
		ticks.push(i * step);
	return ticks;
}

// Names are untrusted.  Control characters, and those that turn the direction of text around or have no width, could
// make a name look like another: they are shown by their number.
const INVISIBLE =
	/[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u115f\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

export function visibleText(text) {
	return text.replace(INVISIBLE, (c) => '‹' + c.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0') + '›');
}

// The start and the end of a text that is too long to show; template names can have 100 000 characters.
export function shorten(text, length) {
	if (text.length <= length)
		return text;
	const tail = Math.floor(length / 4);
	return text.slice(0, length - tail - 1) + '…' + text.slice(text.length - tail);
}

export function baseName(path) {
	return path.slice(path.lastIndexOf('/') + 1);
}

// The last two parts of a path: enough to tell one __init__.py from another.
export function shortPath(path) {
	const cut = path.lastIndexOf('/', path.lastIndexOf('/') - 1);
	return cut > 0 ? path.slice(cut + 1) : path;
}

export function pythonVersion(hex) {
	const level = { 10: 'a', 11: 'b', 12: 'rc' }[hex >>> 4 & 15];
	return (hex >>> 24) + '.' + (hex >>> 16 & 255) + '.' + (hex >>> 8 & 255) + (level ? level + (hex & 15) : '');
}
