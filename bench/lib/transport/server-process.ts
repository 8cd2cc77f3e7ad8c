import { answerQuestions } from "../worker.ts";
import { serveFrames, serveHttp2 } from "./forward.ts";

answerQuestions({ frames: serveFrames, http2: serveHttp2 });
