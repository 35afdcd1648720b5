/**
 * Invariants checked: without a listener there is no timer · at most ten calls per second over all
 * phases, except for the last call of each phase · totals and workers are those of the phase; the
 * remaining time follows from the bytes that are done.
 */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { DumpMeter } from '../../../src/main/dump/dump-progress.ts';
import type { DumpProgress } from '../../../src/main/dump/report.ts';
import { type PhaseProgress, ProgressPace, ProgressWatch } from '../../../src/main/job/progress.ts';
import { createPhase, PhaseControl } from '../../../src/shared/dump/phase-control.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

function phase(workers = 2): PhaseControl {
  return new PhaseControl(createPhase(workers));
}

describe('a watch', () => {
  it('has no timer when nobody asked', () => {
    const watch = new ProgressWatch(phase(), undefined);
    expect(vi.getTimerCount()).toBe(0);
    watch.finish();
    watch.stop();
  });

  it('tells ten times a second over many short phases, and once more at the end of each', () => {
    const pace = new ProgressPace();
    const calls: { readonly at: number; readonly isLast: boolean }[] = [];
    let isLast = false;
    for (let round = 0; round < 40; round++) {
      const watch = new ProgressWatch(
        phase(),
        () => calls.push({ at: performance.now(), isLast }),
        pace,
      );
      vi.advanceTimersByTime(100 + ((round * 7) % 130)); // some phases end just after a call
      isLast = true;
      watch.finish();
      isLast = false;
      watch.stop();
    }
    expect(vi.getTimerCount()).toBe(0);
    expect(calls.filter((call) => call.isLast)).toHaveLength(40);
    expect(calls.filter((call) => !call.isLast).length).toBeGreaterThan(10);
    for (const [index, { at, isLast: mayBeSoon }] of calls.entries()) {
      if (index > 0 && !mayBeSoon) expect(at - calls[index - 1]!.at).toBeGreaterThanOrEqual(100);
    }
  });

  it('gives each worker and their sum', () => {
    const control = phase();
    control.advance(0, 10, 100);
    control.advance(1, 10, 100);
    control.advance(1, 10, 100);
    const told: PhaseProgress[] = [];
    const watch = new ProgressWatch(control, (done) => told.push(done));
    watch.finish();
    watch.stop();
    const perWorker = [
      { worker: 0, units: 1, pages: 10, bytes: 100 },
      { worker: 1, units: 2, pages: 20, bytes: 200 },
    ];
    expect(told).toEqual([{ units: 3, pages: 30, bytes: 300, perWorker }]);
  });

  it('stops the phase when the listener throws, and calls it no more', () => {
    const control = phase();
    const broken = new Error('broken, for a test');
    let calls = 0;
    const watch = new ProgressWatch(control, () => {
      calls++;
      throw broken;
    });
    vi.advanceTimersByTime(500);
    expect(control.isStopped).toBe(true);
    expect(() => watch.finish()).toThrow(broken);
    watch.stop();
    expect(calls).toBe(1);
  });
});

describe('the progress of a dump', () => {
  const NOTHING = { units: 0, pages: 0, bytes: 0, perWorker: [] };

  it('says how long it will take, from what is done', () => {
    let now = 1000;
    const told: DumpProgress[] = [];
    const meter = new DumpMeter(
      (progress) => told.push(progress),
      () => now,
    );
    const counted = meter.begin('count', { units: 7, pages: 0, bytes: 0 })!;
    now = 1500;
    counted({ ...NOTHING, units: 7, pages: 5 });
    now = 2000;
    const copied = meter.begin('copy', { units: 4, pages: 5, bytes: 1000 })!;
    copied(NOTHING);
    now = 2100;
    copied({ ...NOTHING, units: 1, bytes: 250 });
    now = 2500;
    copied({ ...NOTHING, units: 4, pages: 5, bytes: 1000 });
    expect(told.map(({ phase: at, etaMs }) => [at, etaMs])).toEqual([
      ['count', 0],
      ['copy', null],
      ['copy', 300],
      ['copy', 0],
    ]);
    expect(told[0]).toMatchObject({ totalUnits: 7, totalPages: 0, totalBytes: 0 });
    expect(told[3]).toMatchObject({ totalUnits: 4, totalPages: 5, totalBytes: 1000, pages: 5 });
  });

  it('is nothing when nobody asked', () => {
    const total = { units: 1, pages: 1, bytes: 1 };
    expect(new DumpMeter(undefined).begin('copy', total)).toBeUndefined();
  });
});
