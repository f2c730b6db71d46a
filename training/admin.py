from django.contrib.admin import AdminSite


class EngineerSite(AdminSite):
    site_header = "Preferendum"
