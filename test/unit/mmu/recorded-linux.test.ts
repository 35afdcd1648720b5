/**
 * Compares the simulated machine with recorded transcripts of Linux (test/transcripts), from every
 * kind of kernel recorded so far, on any machine, whatever kernel it has.
 *
 * Invariants checked, after every step of a history: the result of the call, and the bytes of a
 * load or its signal, are the same · the process has the same mappings, with the same letters of
 * VmFlags, split at the same places · at the end every process reads the same in every page · the
 * machine's tables and counts are consistent.
 */
import { describe, expect, it } from 'vitest';
import {
  parseRecording,
  planOfTranscript,
  printRecording,
  recordings,
} from '../../support/linux/recorded-transcripts.ts';
import { runSimulated } from '../../support/linux/simulated-history.ts';
import { describeDifference, firstDifference } from '../../support/linux/transcript.ts';

const ALL = recordings();

it('trial 13: there is a recording of both kinds, with a zero page and without', () => {
  const kinds = [...ALL.values()].map(({ probes }) => probes.zeroPage);
  expect(kinds.sort()).toEqual([false, true]);
});

describe.each([...ALL])('trial 13: the simulated machine agrees with %s', (_file, recording) => {
  const { files, histories, probes } = recording;

  it('which is printed as it was read', () => {
    expect(parseRecording(printRecording(recording))).toEqual(recording);
    expect(histories.length).toBeGreaterThan(150);
  });

  it.each(histories.map((history) => [history.name, history] as const))(
    '%s',
    (_name, { lines }) => {
      const ours = runSimulated(planOfTranscript(files, lines), probes.zeroPage);
      const isEqual = firstDifference(lines, ours) < 0;
      expect(isEqual ? undefined : describeDifference(lines, ours)).toBeUndefined();
    },
  );
});
