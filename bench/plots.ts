/** Draws the results as SVG pictures, by ECharts without a browser. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type EChartsOption, init } from 'echarts';
import type { Growth } from './growth.ts';
import type { Line } from './line.ts';
import type { BenchMachine } from './results.ts';

/** The part of the benchmark's JSON that plots need. */
export interface Results {
  readonly machine: BenchMachine;
  readonly lines: readonly Line[];
  readonly growth: readonly Growth[];
}

const SIZE = { width: 900, height: 540 } as const;
const PHASES = ['scan', 'load', 'lockWait', 'plan', 'copy', 'commit', 'other'];

/** Writes a picture for everything that was measured. Returns the paths of the files. */
export function writePlots(results: Results, folder: string): string[] {
  mkdirSync(folder, { recursive: true });
  const written: string[] = [];
  for (const [name, option] of Object.entries(plotsOf(results))) {
    if (option === undefined) continue;
    const path = join(folder, `${name}.svg`);
    writeFileSync(path, draw(option));
    written.push(path);
  }
  return written;
}

function plotsOf(results: Results): { readonly [name: string]: EChartsOption | undefined } {
  return {
    peers: peersPlot(results),
    'throughput-by-workers': throughputByWorkers(results),
    'time-by-phase': timeByPhase(results),
    'time-by-size': timeBySize(results),
    ...Object.fromEntries(
      [...new Set(results.growth.map(({ of }) => of))].map((of) => [of, growthPlot(results, of)]),
    ),
  };
}

function draw(option: EChartsOption): string {
  const chart = init(null, null, { renderer: 'svg', ssr: true, ...SIZE });
  try {
    chart.setOption({ animation: false, backgroundColor: '#fff', ...option });
    return chart.renderToSVGString();
  } finally {
    chart.dispose(); // otherwise its timer keeps the process alive
  }
}

/** The title, the legend, and space for both. */
function frame({ machine }: Results, title: string): EChartsOption {
  const { cores, cpu, node } = machine;
  return {
    title: { text: title, subtext: `${cores} × ${cpu}, Node ${node}`, left: 'center' },
    legend: { top: 64, itemGap: 28 },
    textStyle: { fontFamily: 'sans-serif' },
    grid: { top: 116, left: 80, right: 40, bottom: 60 },
  };
}

const below = { nameLocation: 'middle', nameGap: 32 } as const;
const beside = { nameLocation: 'middle', nameGap: 52 } as const;
/** Another kernel may be the copy limit at each point, but the limit is drawn as one curve. */
const LIMIT = 'copy limit';

function nameOf({ name }: Line): string {
  return name.startsWith(LIMIT) ? LIMIT : name;
}

/** Makes one curve per name. `xOf` and `yOf` give the place of a line in it. */
function curves(
  lines: readonly Line[],
  xOf: (line: Line) => number,
  yOf: (line: Line) => number,
): EChartsOption['series'] {
  const names = [...new Set(lines.map(nameOf))];
  return names.map((name) => ({
    name,
    type: 'line' as const,
    symbolSize: 8,
    ...(name === LIMIT ? { lineStyle: { type: 'dashed' as const, color: '#444' } } : {}),
    ...(name === LIMIT ? { itemStyle: { color: '#444' } } : {}),
    data: lines
      .filter((line) => nameOf(line) === name && line.value !== null)
      .map((line) => [xOf(line), yOf(line)])
      .sort((a, b) => a[0]! - b[0]!),
  }));
}

function linesOf({ lines }: Results, of: string): Line[] {
  return lines.filter((line) => line.of === of && line.value !== null);
}

/** Draws a bar for each dump and each peer. The README shows this picture. */
function peersPlot(results: Results): EChartsOption | undefined {
  const lines = linesOf(results, 'peers');
  const byName = new Map(lines.map((line) => [line.name, line]));
  if (byName.size === 0) return undefined;
  const shown = [...byName.values()].sort(
    (a, b) => (b.bytesPerSecond ?? 0) - (a.bytesPerSecond ?? 0),
  );
  const isOurs = ({ name }: Line): boolean => name.includes('sink');
  return {
    ...frame(results, `Saving ${lines[0]!.parameters.MiB} MiB of memory, GB/s`),
    legend: { show: false },
    grid: { top: 80, left: 200, right: 80, bottom: 40 },
    xAxis: { type: 'value', name: 'GB/s', ...below },
    yAxis: {
      type: 'category',
      inverse: true,
      data: shown.map((line) => (isOurs(line) ? `mmdump, ${line.name}` : line.name)),
    },
    series: [
      {
        type: 'bar',
        label: { show: true, position: 'right' },
        data: shown.map((line) => ({
          value: Number(((line.bytesPerSecond ?? 0) / 1e9).toFixed(2)),
          itemStyle: { color: isOurs(line) ? '#1f6fb4' : '#b0b0b0' },
        })),
      },
    ],
  };
}

function throughputByWorkers(results: Results): EChartsOption | undefined {
  const lines = linesOf(results, 'dump-workers');
  if (lines.length === 0) return undefined;
  const counts = [...new Set(lines.map(({ parameters }) => String(parameters.workers)))];
  return {
    ...frame(results, `Throughput by workers, ${lines[0]!.parameters.MiB} MiB into memory`),
    xAxis: { type: 'category', data: counts, name: 'workers', ...below },
    yAxis: { type: 'value', name: 'GB/s', ...beside },
    series: curves(
      lines,
      ({ parameters }) => counts.indexOf(String(parameters.workers)),
      ({ bytesPerSecond }) => (bytesPerSecond ?? 0) / 1e9,
    )!,
  };
}

/** Draws a bar for every sink in every mode, in which the phases follow each other. */
function timeByPhase(results: Results): EChartsOption | undefined {
  const lines = [...linesOf(results, 'dump-sinks'), ...linesOf(results, 'import')].filter(
    ({ phases }) => phases !== null,
  );
  if (lines.length === 0) return undefined;
  const phases = PHASES.filter((phase) => lines.some((line) => (line.phases![phase] ?? 0) > 0));
  return {
    ...frame(results, 'Time by phase'),
    grid: { top: 116, left: 290, right: 40, bottom: 60 },
    xAxis: { type: 'value', name: 'ms', ...below },
    yAxis: { type: 'category', inverse: true, data: lines.map(({ name }) => name) },
    series: phases.map((phase) => ({
      name: phase,
      type: 'bar' as const,
      stack: 'time',
      data: lines.map((line) => line.phases![phase] ?? 0),
    })),
  };
}

function timeBySize(results: Results): EChartsOption | undefined {
  const lines = linesOf(results, 'dump-size');
  if (lines.length === 0) return undefined;
  return {
    ...frame(results, `Time by size, runs of 16, ${lines[0]!.parameters.workers} workers`),
    xAxis: { type: 'log', logBase: 2, name: 'MiB', ...below },
    yAxis: { type: 'log', name: 'ms', ...beside },
    series: curves(
      lines,
      ({ parameters }) => Number(parameters.MiB),
      ({ value }) => value!.median,
    )!,
  };
}

/** Draws the measured points, and the lines that were fitted to them. */
function growthPlot(results: Results, of: string): EChartsOption {
  const growth = results.growth.filter((each) => each.of === of);
  const { against, at } = growth[0]!;
  return {
    ...frame(results, `Cost against ${against} (${at})`),
    xAxis: { type: 'log', name: against, ...below },
    yAxis: { type: 'log', name: 'ms', ...beside },
    series: growth.flatMap(({ cost, points, fit }, index) => {
      const color = COLORS[index % COLORS.length]!;
      const fitted = points
        .map(([x]) => [x, fit.constant + fit.slope * x] as const)
        .filter(([, ms]) => ms > 0);
      return [
        {
          name: cost,
          type: 'scatter' as const,
          symbolSize: 9,
          itemStyle: { color },
          data: points.map((point) => [...point]),
        },
        {
          name: cost,
          type: 'line' as const,
          symbol: 'none',
          lineStyle: { color, width: cost === 'total' ? 2.5 : 1 },
          itemStyle: { color },
          data: fitted.map((point) => [...point]),
        },
      ];
    }),
  };
}

const COLORS = ['#222', '#5470c6', '#91cc75', '#fac858', '#ee6666', '#73c0de'] as const;
