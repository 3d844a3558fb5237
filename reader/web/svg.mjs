// SPDX-License-Identifier: MIT
// A drawing context that writes SVG: what a view draws on its canvas it draws on this, and the picture is the same.
// Only what the views use is here.

function escapeText(text) {
	return text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c])
		.replace(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, '\ufffd');
}

const round = (number) => String(Math.round(number * 1000) / 1000);

export class SvgContext {
	// measure: a canvas's context, for the widths of texts
	constructor(width, height, measure) {
		Object.assign(this, { width, height, measure, fillStyle: '#000', strokeStyle: '#000', lineWidth: 1, globalAlpha: 1 });
		this.textAlign = 'left';
		this.textBaseline = 'alphabetic';
		this.parts = [];
		this.path = [];
		this.turned = '';
	}

	get font() {
		return this.measure.font;
	}

	set font(font) {
		this.measure.font = font;
	}

	measureText(text) {
		return this.measure.measureText(text);
	}

	// Only texts are ever turned.
	setTransform(a, b, c, d, e, f) {
		this.turned = b === 0 && e === 0 && f === 0 ? '' : ` transform="matrix(${[a, b, c, d, e, f].map(round).join(' ')})"`;
	}

	fillRect(x, y, width, height) {
		this.parts.push(`<rect x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${round(height)}" ` +
			`fill="${this.fillStyle}"/>`);
	}

	strokeRect(x, y, width, height) {
		this.parts.push(`<rect x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${round(height)}" ` +
			`fill="none" stroke="${this.strokeStyle}" stroke-width="${this.lineWidth}"/>`);
	}

	fillText(text, x, y) {
		const anchor = { left: 'start', center: 'middle', right: 'end' }[this.textAlign];
		const drop = this.textBaseline === 'middle' ? 0.35 * parseFloat(/[\d.]+px/.exec(this.font)) : 0;
		this.parts.push(`<text x="${round(x)}" y="${round(y + drop)}" fill="${this.fillStyle}" ` +
			`text-anchor="${anchor}"${this.turned} ` +
			`font-size="${/[\d.]+(?=px)/.exec(this.font)}">${escapeText(text)}</text>`);
	}

	beginPath() {
		this.path = [];
	}

	moveTo(x, y) {
		this.path.push(`M${round(x)} ${round(y)}`);
	}

	lineTo(x, y) {
		this.path.push((this.path.length ? 'L' : 'M') + `${round(x)} ${round(y)}`);
	}

	// In two halves, because SVG has no arc that ends where it begins.
	arc(x, y, radius, from, to, backwards = false) {
		const at = (angle) => `${round(x + radius * Math.cos(angle))} ${round(y + radius * Math.sin(angle))}`;
		const sweep = backwards ? 0 : 1;
		const middle = (from + to) / 2;
		this.path.push((this.path.length ? 'L' : 'M') + at(from));
		for (const angle of [middle, to])
			this.path.push(`A${round(radius)} ${round(radius)} 0 0 ${sweep} ${at(angle)}`);
	}

	closePath() {
		this.path.push('Z');
	}

	fill() {
		this.parts.push(`<path d="${this.path.join('')}" fill="${this.fillStyle}" fill-opacity="${this.globalAlpha}"/>`);
	}

	stroke() {
		this.parts.push(`<path d="${this.path.join('')}" fill="none" stroke="${this.strokeStyle}" ` +
			`stroke-width="${this.lineWidth}"/>`);
	}

	finish(title) {
		return `<svg xmlns="http:${'//'}www.w3.org/2000/svg" width="${round(this.width)}" height="${round(this.height)}" ` +
			`viewBox="0 0 ${round(this.width)} ${round(this.height)}" font-family="system-ui, sans-serif">` +
			`<title>${escapeText(title)}</title>\n` + this.parts.join('\n') + '\n</svg>\n';
	}
}
