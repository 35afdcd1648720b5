import { describe, expect, it } from 'vitest';
import { createPhase, PhaseControl } from '../../../src/shared/dump/phase-control.ts';

describe('what a worker has claimed', () => {
  it('is known until it has finished it, also to others', () => {
    const buffer = createPhase(2);
    const [worker, coordinator] = [new PhaseControl(buffer), new PhaseControl(buffer)];
    expect(coordinator.claimedBy(1)).toBeUndefined();
    expect(worker.claim(2, 0)).toBe(0);
    expect(worker.claim(2, 1)).toBe(1);
    expect([0, 1].map((one) => coordinator.claimedBy(one))).toEqual([0, 1]);
    worker.advance(1, 5, 7);
    expect(coordinator.claimedBy(1)).toBeUndefined();
    expect(coordinator.claimedBy(0)).toBe(0);
    expect(coordinator.progressOf(1)).toEqual({ units: 1, pages: 5, bytes: 7 });
  });

  it('is nothing where there was nothing left to claim', () => {
    const phase = new PhaseControl(createPhase(1));
    expect(phase.claim(0, 0)).toBe(-1);
    expect(phase.claimedBy(0)).toBeUndefined();
    phase.stop();
    expect(phase.claim(9, 0)).toBe(-1);
    expect(phase.claimedBy(0)).toBeUndefined();
  });
});
