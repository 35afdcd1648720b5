/** A headless Chromium for tests, if the machine has one. */
import { accessSync, constants } from 'node:fs';
import { type Browser, chromium } from 'playwright-core';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome'];

/** The path of Chromium, from $CHROMIUM or the PATH; undefined if there is none. */
export function findChromium(): string | undefined {
  const { CHROMIUM, PATH = '' } = process.env;
  const places = PATH.split(':').flatMap((folder) => NAMES.map((name) => `${folder}/${name}`));
  return [...(CHROMIUM === undefined ? [] : [CHROMIUM]), ...places].find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

export async function startBrowser(executablePath: string): Promise<Browser> {
  // Its sandbox does not work for root and in many containers. It opens only pages of ours.
  return await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
}
