/** Imports that fail, and checks that they leave nothing behind. */

import { readdirSync, readlinkSync } from 'node:fs';
import { createMachine, type Machine } from 'mmdump';
import { expect } from 'vitest';
import type { LiveFixture } from './capture.ts';
import type { LiveProcess } from './live-process.ts';

/** Returns the error that `action` rejects with. */
export async function failure(action: Promise<unknown>): Promise<unknown> {
  try {
    await action;
  } catch (error) {
    return error;
  }
  throw new Error('it did not fail');
}

/** Returns the files of /proc that this process has open. */
function openProcFiles(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const path = readlinkSync(`/proc/self/fd/${fd}`);
      return /^\/proc\/(\d+\/(mem|pagemap)|kpage)/.test(path) ? [path] : [];
    } catch {
      return []; // the descriptor that read the directory
    }
  });
}

/** A machine, and an assertion that it is as if nothing had ever happened. */
export function freshMachine(memory: number): { machine: Machine; expectUntouched: () => void } {
  const machine = createMachine({ memory });
  const { free } = machine.memory;
  const listeners = process.listenerCount('exit');
  return {
    machine,
    expectUntouched() {
      expect(machine.memory.free).toBe(free);
      expect(machine.addressSpaces()).toEqual([]);
      expect(openProcFiles()).toEqual([]);
      expect(process.listenerCount('exit')).toBe(listeners);
    },
  };
}

export function startLarge({ workshop }: LiveFixture, mib: number): Promise<LiveProcess> {
  return workshop.startReady(workshop.largeCommand(mib));
}
