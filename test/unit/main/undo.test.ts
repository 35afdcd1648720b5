/** The error of a job that failed and could not be undone either. */
import { describe, expect, it } from 'vitest';
import { destroySpaces, undone } from '../../../src/main/load/undo.ts';
import { AbortError, MmdumpError } from '../../../src/shared/errors.ts';
import { testMachine } from '../../support/machine/machine.ts';

async function fails(): Promise<void> {
  throw new Error('it is stuck');
}

describe('fault 2: an undo that fails is not silent', () => {
  it('leaves the error alone when it succeeds', async () => {
    const error = new MmdumpError('ENOMEM', 'no memory');
    expect(await undone(error, async () => {})).toBe(error);
  });

  it('keeps code and fields of the error, and adds what became of the undo', async () => {
    const error = new MmdumpError('ENOMEM', 'no memory', { pid: 7 });
    expect(await undone(error, fails)).toMatchObject({
      code: 'ENOMEM',
      message: 'no memory; some of what it had loaded could not be given back: it is stuck',
      fields: { pid: 7 },
      cause: { message: 'it is stuck' },
    });
    expect(await undone(new AbortError(), fails)).toMatchObject({
      name: 'AbortError',
      cause: { message: expect.stringContaining('it is stuck') },
    });
  });

  it('passes over what somebody else has destroyed, and goes on', async () => {
    const machine = testMachine();
    const spaces = [machine.createAddressSpace(), machine.createAddressSpace()];
    spaces[0]!.exit();
    await destroySpaces(spaces);
    expect(machine.addressSpaces()).toEqual([]);
  });
});
