/**
 * The script that made the golden images. It ran on commit 429386e for version 1 of the image, and
 * for version 2 when that was new. The images stay as they are, so that what was written once can
 * be read for ever; a later version of the image gets a folder of its own. Therefore the script
 * writes only the files that are missing.
 *
 *   npm run build && npx tsx test/golden/make.ts
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { createDumper, fileSink, splitSink } from 'mmdump';
import { describeSlowly, goldenFolder } from '../support/images/golden.ts';
import { createGolden, GOLDEN_NAMES } from '../support/images/golden-spaces.ts';

/** The folder for the image version that the package writes. */
const target = goldenFolder(2);
mkdirSync(target, { recursive: true });
const folder = mkdtempSync(join(tmpdir(), 'mmdump-golden-'));
const dumper = await createDumper({ workers: 2 });
try {
  for (const name of GOLDEN_NAMES) {
    const description = new URL(`${name}.json`, target);
    if (existsSync(description)) continue;
    const { spaces, options, parts } = createGolden(name);
    const path = join(folder, `${name}.cpt`);
    const to = parts === 1 ? fileSink(path) : splitSink(path, { parts });
    await dumper.dump(spaces, { ...options, to });
    const files = readdirSync(folder).filter((file) => file.startsWith(`${name}.cpt`));
    const contents = files.sort().map((file) => readFileSync(join(folder, file)));
    files.forEach((file, part) => {
      writeFileSync(new URL(`${file}.gz`, target), gzipSync(contents[part]!, { level: 9 }));
    });
    const described = describeSlowly(Buffer.concat(contents));
    writeFileSync(description, `${JSON.stringify(described, null, 1)}\n`);
    console.log(`${name}: ${described.bytes} bytes in ${files.length} files, id ${described.id}`);
  }
} finally {
  await dumper.close();
  rmSync(folder, { recursive: true });
}
