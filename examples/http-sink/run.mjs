// Uploads an image to a server while it is being made, and verifies what has arrived. The server
// refuses every fourth part with a 503, and the sink sends it again.
//
//   node examples/http-sink/run.mjs
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDumper, createWorkload, MiB } from 'mmdump';
import { HttpSink } from './http-sink.mjs';
import { PartServer } from './part-server.mjs';

const { machine, space } = await createWorkload('mixed', { size: 4 * MiB });
const dumper = await createDumper();
const server = new PartServer(4);
const folder = await mkdtemp(join(tmpdir(), 'mmdump-http-sink-'));
try {
  const sink = new HttpSink(await server.listen());
  const { image } = await dumper.dump(space, { to: sink });

  const [arrived] = server.images.values();
  console.log(`uploaded: ${image.bytes} bytes, of which ${arrived.length} have arrived`);
  console.log(`parts that were refused: ${server.refused}, and sent again: ${sink.repeated}`);
  const path = join(folder, 'arrived.cpt');
  await writeFile(path, arrived);
  const { ok, id } = await dumper.verify(path);
  console.log(`verified: ${ok && id === image.id ? 'whole and undamaged' : 'DAMAGED'}`);
} finally {
  await rm(folder, { recursive: true });
  await server.close();
  await dumper.close();
  await machine.close();
}
