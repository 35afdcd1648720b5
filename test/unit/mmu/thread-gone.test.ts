import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { attach } from '../../../src/mmu/machine/attach.ts';
import { mmOf } from '../../../src/mmu/mm/mm.ts';
import { lockTable } from '../../../src/mmu/tables/page-table.ts';
import { collectGarbage } from '../../../src/shared/collect-garbage.ts';
import { PAGE_SIZE } from '../../../src/shared/page.ts';
import { codeOf, pageOf, testMachine } from '../../support/machine/machine.ts';

const ANON = { prot: 'rw', flags: ['private', 'anonymous'], length: 4 * PAGE_SIZE } as const;

describe('a thread that died', () => {
  it('gives its read lock, its place in the gate and its freeze back', async () => {
    const machine = testMachine();
    const space = machine.createAddressSpace();
    const at = space.mmap(ANON);
    const dead = machine.registerThread();
    machine.parts.gate.tryEnter(dead);
    space.mm.lock.lock(dead, 'read');
    expect(codeOf(() => space.munmap(at, PAGE_SIZE))).toBe('EAGAIN');
    machine.threadGone(dead);
    expect(codeOf(() => space.munmap(at, PAGE_SIZE))).toBe('nothing');
    const freezer = machine.registerThread();
    await machine.parts.gate.freeze(machine.parts.threads.idOf(freezer));
    expect(codeOf(() => space.write(at + PAGE_SIZE, pageOf(1)))).toBe('EAGAIN');
    machine.threadGone(freezer);
    machine.threadGone(freezer); // a second call has no effect
    expect(codeOf(() => space.write(at + PAGE_SIZE, pageOf(1)))).toBe('nothing');
  });

  it('inside a write poisons the machine, and everybody is told', async () => {
    const machine = testMachine();
    const space = machine.createAddressSpace();
    const at = space.mmap(ANON);
    const dead = machine.registerThread();
    machine.parts.gate.tryEnter(dead);
    space.mm.lock.lock(dead, 'write');
    const waiting = space.writeAsync(at, pageOf(1));
    machine.threadGone(dead);
    await expect(waiting).rejects.toMatchObject({ code: 'MACHINE_POISONED' });
    expect(codeOf(() => space.mmap(ANON))).toBe('MACHINE_POISONED');
    expect(codeOf(() => space.vmas())).toBe('MACHINE_POISONED');
  });

  it('is found where a view was dropped with a lock: others are told', async () => {
    const machine = testMachine();
    const space = machine.createAddressSpace();
    const drop = (): void => {
      const view = attach(machine.handle);
      view.parts.gate.tryEnter(view.parts.thread);
    };
    drop();
    for (let turn = 0; !machine.parts.threads.isPoisoned && turn < 100; turn++) {
      await collectGarbage();
      await nextTurn();
    }
    expect(codeOf(() => space.mmap(ANON))).toBe('MACHINE_POISONED');
  });

  it('with a page-table lock poisons the machine', () => {
    const machine = testMachine();
    const space = machine.createAddressSpace();
    const at = space.mmap(ANON);
    const dead = machine.registerThread();
    lockTable(mmOf(machine.parts, 0, dead), space.mm.pgd);
    machine.threadGone(dead);
    expect(codeOf(() => space.write(at, pageOf(1)))).toBe('MACHINE_POISONED');
  });
});

describe('what names a thread', () => {
  it('names it as long as it lives: told too late, nobody else is declared dead', () => {
    const machine = testMachine();
    const first = machine.registerThread();
    machine.threadGone(first);
    const second = machine.registerThread();
    const { threads } = machine.parts;
    expect(second).not.toBe(first);
    machine.threadGone(first);
    expect(threads.isLive(threads.idOf(second))).toBe(true);
    expect(codeOf(() => attach(machine.handle, { thread: first }))).toBe('OPTION_INVALID');
    attach(machine.handle, { thread: second }).detach();
    expect(threads.idOf(second)).toBe(-1);
  });
});

describe('the asynchronous twins', () => {
  it('wait where the plain forms throw EAGAIN', async () => {
    const machine = testMachine();
    const space = machine.createAddressSpace();
    const at = space.mmap(ANON);
    const freeze = await machine.freeze();
    expect(codeOf(() => space.write(at, pageOf(3)))).toBe('EAGAIN');
    const writing = space.writeAsync(at, pageOf(3));
    freeze.thaw();
    await writing;
    const bytes = new Uint8Array(1);
    await space.readAsync(at, bytes);
    expect(bytes[0]).toBe(3);
    const more = await space.mmapAsync(ANON);
    await space.mprotectAsync(more, PAGE_SIZE, 'r');
    await space.munmapAsync(more, ANON.length);
    expect(await space.vmasAsync()).toHaveLength(1);
  });
});
