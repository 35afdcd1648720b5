/** Writes a file of text: under its name it is whole, or it is not there. */
import { writeSync } from 'node:fs';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import { guard } from '../job/guard.ts';
import { fileCalls } from '../sinks/file-calls.ts';
import { outputFailed } from '../sinks/output-error.ts';
import { OutputFile, removeNow } from '../sinks/output-file.ts';

/** OUTPUT_EXISTS unless `force`, OUTPUT_FAILED, AbortError. Nothing is left behind then. */
export async function writeText(
  path: string,
  text: string,
  force: boolean,
  signal: AbortSignal | undefined,
): Promise<void> {
  const file = new OutputFile(path, fileCalls(undefined, true));
  const unguard = guard(() => removeNow(file.temporary));
  try {
    await file.create();
    writeAll(file.fd, Buffer.from(text), path);
    await file.sync();
    throwIfAborted(signal);
    await file.appear(force);
  } catch (error) {
    await file.removeTemporary();
    throw error;
  } finally {
    await file.close();
    unguard();
  }
}

function writeAll(fd: number, bytes: Buffer, path: string): void {
  try {
    for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
  } catch (error) {
    throw outputFailed(path, 'cannot be written', error);
  }
}
