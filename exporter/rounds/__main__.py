import asyncio, sys, time, yaml, httpx, re, itertools
args = dict(a.lstrip("-").split("=",1) for a in sys.argv[2:])
conf = yaml.safe_load(open(args["config.file"]))["services"]
host, port = args["web.listen-address"].rsplit(":",1)
st = {}
def secs(t): return float(t[:-1])
D = conf["defaults"]; iv, to, de, do = (secs(D[k]) for k in ("interval","timeout","degraded_after","down_after"))
started=time.time()
async def probe(c, i):
    await asyncio.sleep(i*iv/len(conf["checks"]))
    n=0; f=0
    while True:
        t=time.time()
        code=0
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=to) as cl:
                code=(await cl.get(c["url"])).status_code
            e=time.time()-t
            s="down" if code!=200 or e>=do else "degraded" if e>=de else "up"
        except Exception: s="down"; e=time.time()-t
        n+=1; f+= s=="down"
        st[c["name"]]=(c["tier"],s,e,code,n,f,time.time())
        await asyncio.sleep(max(0,t+iv-time.time()))
def text():
    o=[f"rounds_config_last_reload_success_timestamp_seconds {started}"]
    for k,(tier,s,e,code,n,f,l) in st.items():
        lb=f'check="{k}",tier="{tier}"'
        for x in ("up","degraded","down"): o.append(f'rounds_check_state{{{lb},state="{x}"}} {int(x==s)}')
        o+= [f'rounds_check_response_seconds{{{lb}}} {e}', f'rounds_check_http_status_code{{{lb}}} {code}', f'rounds_check_threshold_seconds{{{lb},level="down"}} {do}',
             f'rounds_check_probes_total{{{lb}}} {n}', f'rounds_check_failures_total{{{lb},reason="error"}} {f}', f'rounds_check_last_probe_timestamp_seconds{{{lb}}} {l}', f'rounds_check_interval_seconds{{{lb}}} {iv}']
    return "\n".join(o)+"\n"
async def serve(r,w):
    await r.readuntil(b"\r\n\r\n"); b=text().encode()
    w.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"%len(b)+b); await w.drain(); w.close()
async def main():
    s=await asyncio.start_server(serve,host,int(port))
    await asyncio.gather(*(probe(c,i) for i,c in enumerate(conf["checks"])))
asyncio.run(main())
