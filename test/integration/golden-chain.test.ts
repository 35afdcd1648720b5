/**
 * The golden chain: three images with parents that were written once can be read for ever. Each has
 * the id that it had, the chain verifies, and made one image it is the whole dump of that time.
 */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { createDumper, type Dumper, flattenImage, memorySink, openImage } from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bytesOf } from '../support/images/images.ts';

interface Golden {
  readonly ids: readonly string[];
  readonly sha256: readonly string[];
  readonly flat: { readonly id: string; readonly sha256: string };
}

const golden = new URL('../golden/chain/', import.meta.url);
const expected = JSON.parse(readFileSync(new URL('chain.json', golden), 'utf8')) as Golden;
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

let dumper: Dumper;
let folder: string;
beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
  folder = mkdtempSync(join(tmpdir(), 'mmdump-golden-chain-'));
  expected.sha256.forEach((digest, index) => {
    const bytes = gunzipSync(readFileSync(new URL(`${index}.cpt.gz`, golden)));
    expect(sha256(bytes)).toBe(digest);
    writeFileSync(join(folder, `${index}.cpt`), bytes);
  });
});
afterAll(async () => {
  await dumper.close();
  rmSync(folder, { recursive: true });
});

describe('the golden chain', () => {
  it('is found, verifies, and is the whole dump when it is made one image', async () => {
    const path = join(folder, '2.cpt');
    const image = await openImage(path);
    try {
      expect([image.id, ...image.ancestors.map(({ id }) => id)]).toEqual(expected.ids.toReversed());
      const counts = image.mms().flatMap(({ vmas }) => vmas.map(({ pages }) => pages));
      expect(counts.reduce((sum, { parent }) => sum + parent, 0)).toBeGreaterThan(5);
      expect(counts.reduce((sum, { copy }) => sum + copy, 0)).toBeGreaterThan(5);
      expect(await dumper.verify(path)).toMatchObject({ ok: true, problems: [] });
      const to = memorySink();
      expect(await flattenImage(image, { to })).toMatchObject({ id: expected.flat.id });
      expect(sha256(bytesOf(to.image))).toBe(expected.flat.sha256);
    } finally {
      await image.close();
    }
  });
});
