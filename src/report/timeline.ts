/** The dump as it went: one lane for each worker, one bar for each phase that it worked in. */
import { scaleLinear } from 'd3-scale';
import { formatBytes, formatMs } from '../shared/human-units.ts';
import type { ReportRun } from '../shared/report/report-data.ts';
import { h, plainTable, svg } from './dom.ts';

const LANE = 22;
const LEFT = 80;
const WIDTH = 960;

/** The timeline, with a table that says the same. */
export function timeline(run: ReportRun): HTMLElement {
  const lanes = [...new Set(run.perWorker.map(({ worker }) => worker))].sort((a, b) => a - b);
  const end = Math.max(1, ...run.perWorker.map(({ startMs, busyMs }) => startMs + busyMs));
  const scale = scaleLinear([0, end], [LEFT, WIDTH - 10]).nice();
  const height = lanes.length * LANE + 24;
  const drawing = svg('svg', { viewBox: `0 0 ${WIDTH} ${height}`, 'aria-hidden': 'true' });
  for (const tick of scale.ticks(8)) {
    const x = scale(tick);
    drawing.append(
      svg('line', { x1: x, x2: x, y1: 0, y2: height - 20, class: 'grid' }),
      svg('text', { x, y: height - 6, 'text-anchor': 'middle' }, formatMs(tick)),
    );
  }
  lanes.forEach((worker, lane) => {
    const y = lane * LANE;
    drawing.append(svg('text', { x: 0, y: y + LANE / 2 + 4 }, `worker ${worker}`));
    for (const part of run.perWorker.filter((one) => one.worker === worker)) {
      const x = scale(part.startMs);
      const width = Math.max(1, scale(part.startMs + part.busyMs) - x);
      const bar = svg('rect', {
        x,
        y: y + 3,
        width,
        height: LANE - 6,
        class: `phase-${part.phase}`,
      });
      bar.append(svg('title', {}, `${part.phase}, ${formatMs(part.busyMs)}`));
      drawing.append(bar);
    }
  });
  const rows = run.perWorker.map(({ phase, worker, units, pages, bytes, startMs, busyMs }) => {
    return [
      `${worker}`,
      phase,
      units,
      pages,
      formatBytes(bytes),
      formatMs(startMs),
      formatMs(busyMs),
    ];
  });
  const times = Object.entries(run.ms).map(([name, ms]) => `${name} ${formatMs(ms)}`);
  return h(
    'div',
    {},
    h('p', {}, `Workers ${run.workersReason}. ${times.join(', ')}.`),
    drawing,
    plainTable(
      'What each worker did',
      ['worker', 'phase', 'units', 'pages', 'bytes', 'start', 'busy'],
      rows,
    ),
  );
}
