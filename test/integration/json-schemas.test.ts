/**
 * The schemas of docs/schemas say what the command line prints with --json. The tests of the
 * commands check their output against them; here it is checked that the schemas are strict.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { buildCore, fileNote, threadNote } from '../support/core/build-core.ts';
import { CliFolder } from '../support/programs/cli.ts';
import { assertMatchesSchema, SCHEMAS } from '../support/programs/json-schemas.ts';

const cli = new CliFolder();
afterAll(() => cli.remove());

type Json = { [key: string]: unknown };

/** Every object inside `value`, with the path that leads to it. */
function objectsIn(value: unknown, path = ''): [string, Json][] {
  if (typeof value !== 'object' || value === null) return [];
  const inner = Object.entries(value).flatMap(([key, child]) => objectsIn(child, `${path}/${key}`));
  return Array.isArray(value) ? inner : [[path, value as Json], ...inner];
}

async function output(...args: string[]): Promise<Json> {
  return JSON.parse((await cli.inside(...args, '--json')).stdout);
}

const image = output('dump', '--workload', 'mixed:4M', '-o', 'a.cpt', '--unsupported', 'skip');

/** An image with a parent. */
async function dumpChild(): Promise<Json> {
  await output('dump', '--workload', 'dense:4M', '-o', 'parent.cpt', '--force');
  const more = ['-o', 'child.cpt', '--force', '--parent', 'parent.cpt'];
  return await output('dump', '--workload', 'dense:4M', ...more);
}

/** A core of a process that faulted, with a thread that has all notes and a file that is missing. */
function smallCore(): Buffer {
  const address = 0x1_0000n;
  const registers = Array.from({ length: 27 }, (_, index) => BigInt(index));
  const signal = Buffer.alloc(128);
  signal.writeInt32LE(11, 0);
  signal.writeInt32LE(1, 8);
  return buildCore(
    [{ address, flags: 4, bytes: 8192n, content: Buffer.alloc(4096, 1) }],
    [
      threadNote(77, registers, 11),
      { owner: 'CORE', type: 3, payload: Buffer.alloc(136) },
      { owner: 'CORE', type: 2, payload: Buffer.alloc(512, 3) },
      { owner: 'CORE', type: 0x5349_4749, payload: signal },
      fileNote([[address, address + 8192n, 0n, '/no/such/library.so']]),
    ],
  );
}

async function dumpCore(): Promise<Json> {
  writeFileSync(join(cli.path, 'a.core'), smallCore());
  return await output('dump', '--core', 'a.core', '-o', 'core.cpt', '--force');
}

/** The differences of two images in which something of every kind has changed. */
async function differences(): Promise<Json> {
  await output('dump', '--workload', 'mixed:4M', '-o', 'b.cpt', '--seed', '9');
  return output('diff', 'a.cpt', 'b.cpt');
}

describe.each([
  ['dump', () => image],
  ['dump', () => output('dump', '--workload', 'mixed:4M', '--dry-run')],
  ['dump', () => output('dump', '--workload', 'dense:4M', '-o', 'parts', '--split', '1M')],
  ['dump', () => output('dump', '--workload', 'mixed:4M', '--format', 'elf', '-o', 'b.core')],
  ['dump', () => dumpCore()],
  ['inspect', () => image.then(() => output('inspect', 'a.cpt'))],
  ['inspect', () => dumpCore().then(() => output('inspect', 'core.cpt'))],
  ['inspect', () => dumpChild().then(() => output('inspect', 'child.cpt'))],
  [
    'convert',
    () => dumpChild().then(() => output('convert', '--flatten', 'child.cpt', 'flat.cpt')),
  ],
  ['convert', () => image.then(() => output('convert', 'a.cpt', 'c.core', '--format', 'elf'))],
  ['verify', () => image.then(() => output('verify', 'a.cpt'))],
  ['diff', () => image.then(differences)],
  ['restore', () => image.then(() => output('restore', 'a.cpt', '--check'))],
] as const)('the schema of %s', (command, print) => {
  it('is that of its output, and of no object with a key more or less', async () => {
    const value = await print();
    assertMatchesSchema(command, value);
    for (const [path, object] of objectsIn(value)) {
      object.extra = 1;
      expect(() => assertMatchesSchema(command, value), `a key more in ${path}`).toThrow('extra');
      delete object.extra;
      for (const [key, kept] of Object.entries(object)) {
        if (key === 'parts') continue; // there only for an image in parts
        delete object[key];
        expect(() => assertMatchesSchema(command, value), `${path} without ${key}`).toThrow(key);
        object[key] = kept;
      }
    }
    assertMatchesSchema(command, value);
  });
});

it('describes every property', () => {
  for (const [command, { schema }] of SCHEMAS) {
    for (const [path, object] of objectsIn(schema)) {
      if (!path.endsWith('/properties')) continue;
      for (const [key, property] of Object.entries(object as { [key: string]: Json })) {
        const { description, $ref } = property;
        const inner = (property.anyOf as Json[] | undefined)?.map(
          (one) => one.description ?? one.$ref,
        );
        expect(description ?? $ref ?? inner?.[0], `${command}: ${path}/${key}`).toBeDefined();
      }
    }
  }
});
