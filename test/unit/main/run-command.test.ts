import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { runCommand } from '../../../src/main/cli/run-command.ts';
import { AbortError, MmdumpError } from '../../../src/shared/errors.ts';

describe('a command that is interrupted', () => {
  let printed = '';
  /** Exit codes with which the process would have ended. */
  let exits: (typeof process.exitCode)[] = [];
  beforeEach(() => {
    printed = '';
    exits = [];
    vi.spyOn(process, 'exit').mockImplementation(() => {
      exits.push(process.exitCode);
      return undefined as never;
    });
    vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
      printed += text;
      return true;
    });
  });
  afterEach(() => {
    vi.restoreAllMocks();
    process.exitCode = undefined;
  });

  async function interrupted(error: Error): Promise<void> {
    await runCommand(async (signal) => {
      process.emit('SIGQUIT', 'SIGQUIT');
      process.emit('SIGQUIT', 'SIGQUIT'); // sent by the terminal and by npx: counts as one
      expect(exits).toEqual([]);
      expect(signal.aborted).toBe(true);
      throw error;
    });
  }

  it('says that nothing was left behind', async () => {
    await interrupted(new AbortError());
    expect(printed).toBe('mmdump: interrupted: nothing was left behind\n');
    expect(exits).toEqual([130]); // a write into a full pipe must not block the exit
  });

  it('says what went wrong if something else did', async () => {
    await interrupted(new MmdumpError('OUTPUT_FAILED', 'a.cpt leaves b behind: no permission'));
    expect(printed).toBe('mmdump: a.cpt leaves b behind: no permission [OUTPUT_FAILED]\n');
    expect(exits).toEqual([1]);
  });
});
