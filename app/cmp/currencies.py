"""Currencies: ISO 4217 codes in use, and the signs that stand for them in prices."""

_CODES = """
AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF
CHE CHF CHW CLF CLP CNY COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF
GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD
LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP
PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP
TRY TTD TWD TZS UAH UGX USD USN UYI UYU UYW UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
"""

CURRENCIES: frozenset[str] = frozenset(_CODES.split())

_SIGNS = {
    "$": "USD CAD AUD NZD SGD HKD TWD MXN ARS CLP COP UYU BBD BSD BMD BND BZD DOP FJD GYD JMD KYD LRD NAD SBD SRD"
    " TTD XCD",
    "US$": "USD",
    "C$": "CAD NIO",
    "CA$": "CAD",
    "A$": "AUD",
    "AU$": "AUD",
    "NZ$": "NZD",
    "S$": "SGD",
    "HK$": "HKD",
    "NT$": "TWD",
    "MX$": "MXN",
    "R$": "BRL",
    "€": "EUR",
    "£": "GBP FKP GIP SHP EGP LBP SYP",
    "¥": "JPY CNY",
    "元": "CNY",
    "円": "JPY",
    "₹": "INR",
    "RS": "INR PKR LKR NPR MUR SCR",
    "₩": "KRW",
    "₽": "RUB",
    "₺": "TRY",
    "₴": "UAH",
    "₪": "ILS",
    "₫": "VND",
    "₱": "PHP",
    "₦": "NGN",
    "฿": "THB",
    "₸": "KZT",
    "KR": "SEK NOK DKK ISK",
    "ZŁ": "PLN",
    "KČ": "CZK",
    "FT": "HUF",
    "LEI": "RON MDL",
    "FR": "CHF",
    "SFR": "CHF",
    "R": "ZAR",
    "RM": "MYR",
    "RP": "IDR",
}
"""A sign in upper case, and the currencies it may stand for."""

SIGNS: dict[str, frozenset[str]] = {sign: frozenset(codes.split()) for sign, codes in _SIGNS.items()}


def means(sign: str, currency: str | None) -> bool:
    """Whether the sign or code next to a price is one of the currency given beside it."""
    sign = sign.strip().removesuffix(".").upper()
    return currency is not None and (sign == currency or currency in SIGNS.get(sign, ()))
