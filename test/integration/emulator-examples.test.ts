/**
 * Invariants checked: the examples with snapshots run and print what their comments say · the PC of
 * v86 counts on from the number of its snapshot, after a rewind and after an image · the fuzzer
 * finds the planted crash with the same input each time, and that input is one that must crash
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const cwd = fileURLToPath(new URL('../../', import.meta.url));

function run(example: string, ...args: string[]): string[] {
  const script = `examples/${example}/run.mjs`;
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...args], {
    cwd,
    encoding: 'utf8',
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return stdout.trim().split('\n');
}

it('v86-snapshots: the guest counts on after a rewind, and from an image', () => {
  expect(run('v86-snapshots')).toEqual([
    'rewind: the guest counts on',
    'image: the guest counts on',
  ]);
});

it.each(['1', '2'])('snapshot-fuzzer: seed %s finds a crash, always the same', (seed) => {
  const found = run('snapshot-fuzzer', seed);
  expect(run('snapshot-fuzzer', seed)).toEqual(found);
  const [crash, again] = found;
  const [, input] = /^run \d+: SIGSEGV at the end, input ([0-9a-f]+)$/.exec(crash!)!;
  expect(again).toBe('again: SIGSEGV at the end');
  // The buffer of the target has 64 bytes, and each record appends as many as it says.
  const bytes = Buffer.from(input!, 'hex');
  let appended = 0;
  for (let at = 0; bytes[at] === 0x50 && bytes[at + 1]! <= 24; at += 2 + bytes[at + 1]!) {
    appended += bytes[at + 1]!;
  }
  expect(appended).toBeGreaterThan(64);
});
