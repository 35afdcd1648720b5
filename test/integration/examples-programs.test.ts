/**
 * Invariants checked: the examples run, and print what they are there to show · the lecture on page
 * faults names the fault and the class of the page at each step · what has changed between two images
 * is found, byte by byte · the server dumps the child that was asked for, and ends all that it started
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { createMachine, importProcess, MmdumpError } from 'mmdump';
import { describe, expect, it } from 'vitest';
import { started } from '../support/programs/cli.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** What an example prints. It must say nothing on standard error. */
function run(name: string): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, [`examples/${name}/run.mjs`], {
    cwd: root,
    encoding: 'utf8',
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return stdout;
}

it('page-fault: every step has its fault, and what a dump makes of the page', () => {
  const printed = run('page-fault');
  const steps = printed.split(/^\d+\. /m).slice(1);
  const told = steps.map((step) => {
    const [title] = step.split('\n');
    const fault = /fault: +(\w+, on a \w+: \w+)/.exec(step)?.[1] ?? 'none';
    return `${title} | ${fault} | ${/dump: +(\w+)/.exec(step)?.[1]}`;
  });
  expect(told).toEqual([
    'mmap | none | absent',
    'Read of an untouched page | minor, on a read: zeroPage | zero',
    'Write to the zero page | minor, on a write: cow | copy',
    'Write to an untouched page | minor, on a write: anonymous | copy',
    'fork, seen by the parent | none | copy',
    'fork, seen by the child | none | clone',
    'Write in the child: copy on write | minor, on a write: cow | copy',
    'Write in the parent: reuse | minor, on a write: reuse | copy',
    'Memory is short: the page goes to swap | none | copy',
    'Read of a page in swap | major, on a read: swapIn | copy',
    'Read of a file | major, on a read: file | absent',
    'Write to a private mapping of a file | minor, on a write: cow | copy',
    'A guard page | none | guard',
    'munmap | none | unmapped',
  ]);
  expect(steps[4]).toContain('reference count 2, map count 2');
  expect(steps[8]).toMatch(/pte: +not present\n +swap: +slot \d+, reference count 1/);
  expect(steps.at(-1)).toContain("begins with 3, and the file still with 'a'.");
});

it('what-changed: mappings, classes and bytes, and which of them count', () => {
  const cells = run('what-changed')
    .split(/^\[\d\] /m)
    .slice(1);
  expect(cells).toHaveLength(5);
  expect(cells[0]).toContain('yes: 6 of 64 pages have other bytes');
  expect(cells[1]).toContain('added: 0x20000000-0x20001000 /usr/lib/plugin.so');
  expect(cells[2]).toContain('4 from 0x10014000: copy -> absent');
  expect(cells[3]).toContain('0x1000900e: "                " -> "; plug-in loaded"');
  expect(cells[4]).toContain('0x10005040: 1000 -> 1017, 17 more');
});

/** Why the memory of a child cannot be read here; undefined if it can be. */
async function whyNoImport(): Promise<string | undefined> {
  const child = await started('console.log(1); process.stdin.resume()');
  try {
    await importProcess((memory) => createMachine({ memory }), child.pid!);
    return undefined;
  } catch (error) {
    if (!(error instanceof MmdumpError)) throw error;
    return error.message;
  } finally {
    child.stdin!.end();
  }
}

describe('dump-server', () => {
  it('dumps the child that is asked for, and ends everything', async (context) => {
    const reason = await whyNoImport();
    if (reason !== undefined) context.skip(`the memory of a process cannot be read: ${reason}`);
    const [children, dumped, found] = run('dump-server').trim().split('\n');
    const pids = /^children: (\d+) (\d+)$/.exec(children!)!.slice(1).map(Number);
    const [, pid, mappings, bytes] = /^dumped: (\d+), (\d+) mappings, (\d+) bytes$/
      .exec(dumped!)!
      .map(Number);
    expect(pid).toBe(pids[1]);
    expect(mappings).toBeGreaterThan(10);
    expect(bytes).toBeGreaterThan(2 ** 20);
    expect(found).toBe('in the image: the-first-keeps-this: false, the-second-keeps-that: true');
    for (const each of pids) expect(() => process.kill(each, 0)).toThrow(/ESRCH/);
  });
});
