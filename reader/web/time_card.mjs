// SPDX-License-Identifier: MIT
// The card of the time line, above all views: the curve, what is read out under the pointer, its legend and switches.
import { Timeline } from './timeline.mjs';
import { byId, legendEntry } from './dom.mjs';
import { formatBytes, formatExact, formatTime, shorten, visibleText } from './units.mjs';

export class TimeCard {
	constructor(app) {
		this.report = app.report;
		this.timeline = new Timeline(byId('time-canvas'), { onHover: (point) => this.readOut(point) });
		this.timeline.show(this.report, app.countedDomains);
		const { count, resident } = this.report.timeline;
		byId('time-empty').hidden = count > 0;
		byId('time-canvas').hidden = count === 0;
		this.timeline.resident = resident.some((bytes) => bytes > 0);
		byId('time-resident').hidden = !this.timeline.resident;
		byId('time-stacked').hidden = this.timeline.domains.length < 2;
		byId('time-stacked').addEventListener('click', () => this.toggle('stacked', byId('time-stacked')));
		byId('time-resident').addEventListener('click', () => this.toggle('resident', byId('time-resident')));
		this.updateLegend();
		this.readOut(-1);
	}

	toggle(what, pressed) {
		this.timeline[what] = !this.timeline[what];
		pressed.setAttribute('aria-pressed', String(this.timeline[what]));
		this.updateLegend();
		this.timeline.schedule();
	}

	updateLegend() {
		const { meta } = this.report;
		const entries = this.timeline.stacked ? this.timeline.domains.map((i) => ['d' + i, meta.domains[i].name]) :
			[['line-live', 'live']];
		if (this.timeline.resident)
			entries.push(['line-resident', 'resident']);
		byId('time-legend').replaceChildren(...entries.map(([className, text]) => legendEntry(className, text)));
	}

	readOut(point) {
		const { timeline, meta } = this.report;
		const readout = byId('time-readout');
		if (point < 0) {
			readout.textContent = timeline.count ? 'peak at ' + formatTime(meta.peak_time_us) : '';
			readout.title = '';
			return;
		}
		const parts = [formatTime(timeline.time[point]), 'live ' + formatBytes(timeline.live[point])];
		if (this.timeline.stacked)
			parts.push(...this.timeline.domains.map((i) => meta.domains[i].name + ' ' +
				formatBytes(timeline.domains[i][point])));
		else if (timeline.liveMax[point] > timeline.live[point])
			parts.push('max ' + formatBytes(timeline.liveMax[point]));
		if (timeline.resident[point])
			parts.push('resident ' + formatBytes(timeline.resident[point]));
		const span = timeline.time[point] - (point ? timeline.time[point - 1] : 0);
		if (span > 0)
			parts.push(formatBytes(timeline.allocatedBytes[point] / span * 1e6) + '/s');
		const mark = meta.marks.find(([time]) => Math.abs(time - timeline.time[point]) <= span);
		if (mark)
			parts.push('◆ ' + visibleText(shorten(mark[1], 40)));
		readout.textContent = parts.join('  ·  ');
		readout.title = formatExact(timeline.live[point]) + ' bytes live';
	}

	setTheme(palette) {
		this.timeline.setTheme(palette);
	}
}
