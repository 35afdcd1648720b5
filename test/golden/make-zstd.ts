/**
 * The script that made the golden compressed image, and the plain one that shows the same. As those
 * of `make.ts`, they stay as they are. It needs a Node that has zstd.
 *
 *   npm run build && npx tsx test/golden/make-zstd.ts
 */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { createDumper } from 'mmdump';
import { createGolden } from '../support/images/golden-spaces.ts';
import { imageOf } from '../support/images/images.ts';

const folder = new URL('zstd/', import.meta.url);
if (!existsSync(folder)) {
  const dumper = await createDumper({ workers: 2 });
  const { spaces, options } = createGolden('family');
  const forms = { family: 'zstd', plain: 'none' } as const;
  mkdirSync(folder);
  for (const [name, compress] of Object.entries(forms)) {
    const bytes = await imageOf(dumper, spaces, { ...options, compress });
    writeFileSync(new URL(`${name}.cpt.gz`, folder), gzipSync(bytes, { level: 9 }));
  }
  await dumper.close();
}
