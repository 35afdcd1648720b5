/**
 * Compares the simulated machine with recorded transcripts of Linux (test/transcripts), from every
 * kind of kernel recorded so far, on any machine, whatever kernel it has.
 *
 * Invariants checked, after every step of a history: the result of the call, and the bytes of a
 * load or its signal, are the same · the process has the same mappings, with the same letters of
 * VmFlags, split at the same places · at the end every process reads the same in every page · the
 * machine's tables and counts are consistent. All of this holds as well if the pages of the
 * processes are moved to a backing again and again; these are not resident.
 */
import { afterAll, describe, expect, it } from 'vitest';
import {
  parseRecording,
  planOfTranscript,
  printRecording,
  recordings,
} from '../../support/linux/recorded-transcripts.ts';
import {
  closeHistories,
  hiddenPages,
  runSimulated,
} from '../../support/linux/simulated-history.ts';
import {
  describeDifference,
  firstDifference,
  withHiddenResident,
} from '../../support/linux/transcript.ts';

const ALL = recordings();
afterAll(closeHistories);

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
      const plan = planOfTranscript(files, lines);
      const hidden = runSimulated(plan, probes.zeroPage, true);
      const both = [runSimulated(plan, probes.zeroPage), withHiddenResident(lines, hidden)];
      for (const ours of both) {
        const isEqual = firstDifference(lines, ours) < 0;
        expect(isEqual ? undefined : describeDifference(lines, ours)).toBeUndefined();
      }
    },
  );

  it('and pages were moved to a backing on the way', () => {
    expect(hiddenPages.count).toBeGreaterThan(1000);
  });
});
