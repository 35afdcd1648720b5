// Starts the server with two children, asks it for a dump of the second one, fetches the image and
// finds in it what the child keeps in memory. Then it ends all of them.
//
//   node examples/dump-server/run.mjs           does that
//   node examples/dump-server/run.mjs --serve   goes on until Ctrl-C, for curl
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openImage, searchImage } from 'mmdump';
import { DumpServer } from './dump-server.mjs';

const WORDS = ['the-first-keeps-this', 'the-second-keeps-that'];

const server = new DumpServer();
try {
  const url = await server.start(WORDS);
  if (process.argv.includes('--serve')) {
    console.log(`curl -X POST ${url}/children/1/dump`);
    await once(process, 'SIGINT');
  } else {
    await ask(url);
  }
} finally {
  await server.close();
}

async function ask(url) {
  const children = await (await fetch(`${url}/children`)).json();
  console.log(`children: ${children.map(({ pid }) => pid).join(' ')}`);
  const answer = await fetch(`${url}/children/1/dump`, { method: 'POST' });
  const summary = await answer.json();
  if (!answer.ok) {
    console.log(`the dump has failed: ${summary.error} [${summary.code}]`);
    process.exitCode = 1;
    return;
  }
  const { pid, bytes, mappings, link } = summary;
  console.log(`dumped: ${pid}, ${mappings} mappings, ${bytes} bytes`);
  const image = await (await fetch(url + link)).arrayBuffer();
  const counts = await countIn(Buffer.from(image));
  console.log(`in the image: ${WORDS[0]}: ${counts[0] > 0}, ${WORDS[1]}: ${counts[1] > 0}`);
}

/** How often an image holds each of the words. */
async function countIn(bytes) {
  const folder = await mkdtemp(join(tmpdir(), 'mmdump-fetched-'));
  try {
    await writeFile(join(folder, 'fetched.cpt'), bytes);
    const image = await openImage(join(folder, 'fetched.cpt'));
    try {
      const counts = [];
      for (const word of WORDS) counts.push((await searchImage(image, word)).count);
      return counts;
    } finally {
      await image.close();
    }
  } finally {
    await rm(folder, { recursive: true });
  }
}
