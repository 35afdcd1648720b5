/** Writes into a named pipe: an error at its end is reported, and no data is lost. */
import { spawnSync } from 'node:child_process';
import { constants, createReadStream, mkdtempSync, openSync, rmSync } from 'node:fs';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { pipeOutput } from '../../../src/main/cli/pipe-output.ts';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'mmdump-pipe-'));
  path = join(folder, 'pipe');
  spawnSync('mkfifo', [path]);
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true });
});

it('brings the bytes to the reader and ends', async () => {
  const output = pipeOutput(path);
  const reader = createReadStream(path, 'utf8');
  output.end('all of it');
  let text = '';
  for await (const part of reader) text += part;
  await finished(output);
  expect(text).toBe('all of it');
});

it('fault 1: fails if the end of the pipe fails', async () => {
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  vi.spyOn(Socket.prototype, '_final').mockImplementation((done) => {
    setImmediate(done, new Error('EPIPE: broken pipe, shutdown'));
  });
  const output = pipeOutput(path);
  output.end('all of it');
  await expect(finished(output)).rejects.toThrow('broken pipe');
  createReadStream('', { fd: reader }).destroy();
});
